#!/usr/bin/env python3
"""Make every secret that docker-compose.yml needs: random passwords and TLS certificates.

Needs Python and the program openssl. What is there already is kept, so it is safe to run again;
delete a file and run it again to change that secret.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import secrets
import subprocess
import sys
import uuid
from pathlib import Path

FOLDER = Path(__file__).parent / "secrets"
DAYS = 825  # the longest life that common TLS clients accept of a certificate

PASSWORDS = (
    "mqtt_gateway_password",
    "mqtt_field_password",
    "mqtt_deliver_password",
    "mqtt_health_password",
    # The brokers' own account and that of `init`; then one account a part, with its rights only.
    "kafka_broker_password",
    "kafka_admin_password",
    "kafka_gateway_password",
    "kafka_worker_password",
    "kafka_sink_password",
    "kafka_feeds_password",
    "kafka_alerts_password",
    "kafka_deliver_password",
    "kafka_forget_password",
    "kafka_reader_password",
    "database_owner_password",
    "database_writer_password",
    "database_reader_password",
    # Of the one role that may read and erase what is known of citizens as persons.
    "database_private_password",
    # Whoever has it may report over Open311; the HTTP front gets its hash only.
    "feeds_api_key",
    # Makes citizens' pseudonyms.
    "privacy_pseudonym_key",
)
URLS = {
    "database_owner_url": "postgres",
    "database_writer_url": "civicstream_writer",
    "database_reader_url": "civicstream_reader",
    "database_private_url": "civicstream_private",
}


def main() -> None:
    """Fill the folder; print what was made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        help="name or address under which devices reach the MQTT broker; may be repeated",
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    folder: Path = options.folder
    # Containers run as other users and get single files of it; on this machine nobody but its
    # owner gets past the folder, so the files may be readable.
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    made = make_passwords(folder) + make_certificates(folder, ["localhost", "mqtt", *options.host])
    made += make_cluster_id(folder) + make_api_keys(folder) + make_privacy_keys(folder)
    sys.stdout.write(f"{folder}: made {', '.join(made) or 'nothing, all is there'}\n")


def make_api_keys(folder: Path) -> list[str]:
    """Write the hash of the key for Open311, as the HTTP front wants it."""
    key = (folder / "feeds_api_key").read_text()
    digest = hashlib.sha256(key.encode()).hexdigest()
    return ["feeds_api_keys"] if _write(folder / "feeds_api_keys", f"first:{digest}") else []


def make_passwords(folder: Path) -> list[str]:
    """Write the missing passwords and the database addresses that hold them."""
    made = [name for name in PASSWORDS if _write(folder / name, secrets.token_urlsafe(24))]
    for name, role in URLS.items():
        password = (folder / f"{name.removesuffix('_url')}_password").read_text()
        url = f"postgresql://{role}:{password}@database:5432/civicstream"
        if not (folder / name).exists() or (folder / name).read_text() != url:
            (folder / name).unlink(missing_ok=True)
            _write(folder / name, url)
            made.append(name)
    _write(folder / "mqtt_devices", "")
    return made


def make_privacy_keys(folder: Path) -> list[str]:
    """Write the keys of citizens' personal data: the public one seals, the private one opens.

    Without the private key what is sealed is lost. Raw X25519 keys (RFC 7748) in base64url.
    """
    if (folder / "privacy_private_key").exists():
        return []
    made = _openssl("genpkey", "-algorithm", "X25519", "-outform", "DER")
    public = _openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", given=made)
    # In DER (RFC 8410) the 32 bytes of the key are the last of either.
    for name, encoded in (("privacy_private_key", made), ("privacy_public_key", public)):
        (folder / name).unlink(missing_ok=True)
        _write(folder / name, base64.urlsafe_b64encode(encoded[-32:]).decode().rstrip("="))
    return ["privacy_private_key", "privacy_public_key"]


def make_cluster_id(folder: Path) -> list[str]:
    """Write the environment file with Kafka's cluster id (22 characters of base64)."""
    cluster_id = "-"
    while cluster_id.startswith("-"):  # Kafka's own tool takes such a one for an option
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return ["kafka.env"] if _write(folder / "kafka.env", f"CLUSTER_ID={cluster_id}\n") else []


def make_certificates(folder: Path, mqtt_hosts: list[str]) -> list[str]:
    """Write a certificate authority of our own and the servers' certificates, if missing."""
    made = []
    if not (folder / "ca.crt").exists():
        _openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "3650",
            "-subj",
            "/CN=CivicStream CA",
            "-keyout",
            str(folder / "ca.key"),
            "-out",
            str(folder / "ca.crt"),
        )
        (folder / "ca.key").chmod(0o600)  # no container needs it
        made.append("ca.crt")
    for server, hosts in (("mqtt", mqtt_hosts), ("kafka", ["localhost", "kafka"])):
        if not (folder / f"{server}.crt").exists():
            _certificate(folder, server, hosts)
            made.append(f"{server}.crt")
    return made


def _certificate(folder: Path, server: str, hosts: list[str]) -> None:
    names = ",".join(f"IP:{h}" if _is_address(h) else f"DNS:{h}" for h in dict.fromkeys(hosts))
    _openssl(
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        str(DAYS),
        "-subj",
        f"/CN={server}",
        "-CA",
        str(folder / "ca.crt"),
        "-CAkey",
        str(folder / "ca.key"),
        "-addext",
        f"subjectAltName={names}",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "extendedKeyUsage=serverAuth,clientAuth",
        "-keyout",
        str(folder / f"{server}.key"),
        "-out",
        str(folder / f"{server}.crt"),
    )
    (folder / f"{server}.key").chmod(0o644)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdecimal()


def _openssl(*arguments: str, given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(["openssl", *arguments], check=True, capture_output=True, input=given)
    except FileNotFoundError:
        raise SystemExit("make_secrets: the program openssl is not installed") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"make_secrets: openssl failed:\n{error.stderr.decode()}") from None
    return done.stdout


def _write(file: Path, text: str) -> bool:
    if file.exists():
        return False
    file.write_text(text)
    file.chmod(0o644)
    return True


if __name__ == "__main__":
    main()
