"""Alerts as mails, received by a real SMTP server."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from civicstream.clock import now_ms
from civicstream.settings import KafkaSettings
from stack.servers.processes import free_port, wait_until
from tests.kit.deliver_runs import dead_letters, delivering, life_of, send_alerts
from tests.kit.sink_events import alert


class Mailbox:
    """Takes mails; who is in ``answers`` gets another answer, the first ones in turn."""

    def __init__(self, answers: dict[str, list[str]] | None = None) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []
        self.users: list[str] = []
        self._answers = answers or {}

    async def handle_RCPT(  # noqa: N802 the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if waiting := self._answers.get(address):
            return waiting.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails += [(address, mail) for address in envelope.rcpt_tos]
        return "250 OK"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        self.users.append(data.login.decode())
        return AuthResult(success=data.password == b"the mail password")


@contextmanager
def mail_server(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    port = free_port()
    controller = Controller(mailbox, "127.0.0.1", port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def smtp(port: int, **more: Any) -> dict[str, Any]:
    plain = {"host": "127.0.0.1", "port": port, "sender": "alerts@city.example"}
    return {"smtp": {**plain, "security": "none", **more}}


def own_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return a certificate of 127.0.0.1 that signs itself, and the server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    place = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(place, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "server.crt", folder / "server.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return certificate, context


OPS = {"name": "ops", "type": "email", "to": ["ops@city.example"]}


def test_one_mail_for_each_that_is_raised_escalated_or_cleared_in_one_conversation(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    mailbox = Mailbox()
    life = life_of("l 1", description="Two lanes are closed.", headline="Schönefeld: queue")
    escalated = msgspec.structs.replace(life[1], version=3, change="escalated", escalation=1)
    ended = msgspec.structs.replace(life[2], version=4)
    with (
        mail_server(mailbox) as port,
        delivering(kafka, tmp_path, [OPS], tables=smtp(port)),
    ):
        send_alerts(kafka, life[0], life[1], escalated, ended)
        wait_until(lambda: len(mailbox.mails) >= 3, "mails", timeout_s=20)
    subjects = [mail["Subject"] for _, mail in mailbox.mails]
    assert subjects == [
        "[severe] Schönefeld: queue",
        "[severe] Schönefeld: queue (not acknowledged)",
        "[cleared] Schönefeld: queue",
    ]
    ids = [mail["Message-ID"] for _, mail in mailbox.mails]
    assert ids == [f"<l%201.{v}@city.example>" for v in (1, 3, 4)]
    assert [mail["In-Reply-To"] for _, mail in mailbox.mails] == [None, ids[0], ids[0]]
    first = mailbox.mails[0][1]
    assert (first["From"], first["To"]) == ("alerts@city.example", "ops@city.example")
    assert first["Auto-Submitted"] == "auto-generated"
    text = first.get_content()
    assert "Two lanes are closed." in text
    assert "http://127.0.0.1:8311/?alert=l%201" in text


def test_no_text_of_an_alert_can_add_a_header_or_a_recipient(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    mailbox = Mailbox()
    evil = "Queue\r\nBcc: victim@elsewhere.example\n\nbody\x00\u2028X-Evil: 1"
    with (
        mail_server(mailbox) as port,
        delivering(kafka, tmp_path, [OPS], tables=smtp(port)),
    ):
        send_alerts(
            kafka,
            alert(id="l1\r\nX-Evil: 2", headline=evil, rule=evil, description=evil, area=evil),
        )
        wait_until(lambda: bool(mailbox.mails), "a mail", timeout_s=20)
    ((to, mail),) = mailbox.mails
    assert to == "ops@city.example"
    assert mail["Bcc"] is None
    assert mail["X-Evil"] is None
    assert mail["Subject"] == "[severe] Queue Bcc: victim@elsewhere.example body X-Evil: 1"


def test_after_a_login_each_recipient_gets_it_once_though_others_are_refused_or_told_to_wait(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    people = ["good@city.example", "busy@city.example", "gone@city.example"]
    mailbox = Mailbox(
        {
            "busy@city.example": ["450 4.2.1 greylisted", "450 4.2.1 greylisted"],
            "gone@city.example": ["550 5.1.1 no such user"],
        }
    )
    secret = tmp_path / "password"
    secret.write_text("the mail password\n")
    certificate, context = own_certificate(tmp_path)
    login = {"username": "city", "password": {"file": str(secret)}}
    tls = {"security": "starttls", "ca_file": str(certificate)}
    options = {"authenticator": mailbox.authenticate, "tls_context": context}
    with (
        mail_server(mailbox, auth_required=True, require_starttls=True, **options) as port,
        delivering(kafka, tmp_path, [{**OPS, "to": people}], tables=smtp(port, **login, **tls)),
    ):
        send_alerts(kafka, alert(id="l1", updated_at=now_ms()))
        wait_until(lambda: bool(dead_letters(kafka)), "the refusal", timeout_s=20, every_s=1)
    assert [to for to, _ in mailbox.mails] == ["good@city.example", "busy@city.example"]
    (letter,) = dead_letters(kafka)
    assert "recipient 3 of 3: SMTP 550" in letter.detail
    assert "gone@" not in letter.detail
    assert set(mailbox.users) == {"city"}
