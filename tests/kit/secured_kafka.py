"""Apache Kafka as deployed: its own entrypoint and configuration, TLS, accounts, ACLs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from civicstream.kafka.rights import MECHANISM, password_file
from civicstream.settings import KafkaSettings
from stack.servers.kafka_jars import fetch_jars, jar_cache, java_program, pinned_jars
from stack.servers.processes import Child, free_port, port_answers

DEPLOY = Path(__file__).parents[2] / "deploy"
_PROGRAMS = {
    "kafka-storage.sh": "-Xmx128m kafka.tools.StorageTool",
    "kafka-server-start.sh": "-Xmx256m -XX:+UseSerialGC kafka.Kafka",
}
"""What the container image's scripts start."""


@dataclass
class SecuredKafka:
    """A running broker; ``secrets`` is the folder that deploy/make_secrets.py made."""

    port: int
    secrets: Path
    run: Path
    environment: dict[str, str]
    """What its entrypoint runs with."""
    log: Path
    child: Child = field(init=False)

    def launch(self) -> None:
        """Start it; it may not answer yet."""
        self.child = Child(
            "kafka", [DEPLOY / "kafka" / "entrypoint.sh"], self.log, self.environment
        )

    def restart(self) -> None:
        self.child.kill()
        self.launch()

    def settings(self, user: str, password: str, mechanism: str = MECHANISM) -> KafkaSettings:
        return KafkaSettings.model_validate(
            {
                "bootstrap": f"localhost:{self.port}",
                "partitions": 2,
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": mechanism,
                "username": user,
                "password": SecretStr(password),
                "ca_file": self.secrets / "ca.crt",
                "passwords_dir": self.secrets,
                "session_timeout_ms": 6000,
            }
        )

    def password(self, part: str) -> str:
        return password_file(self.secrets, part).read_text()

    def of(self, part: str) -> KafkaSettings:
        """The settings of a part: its own account."""
        return self.settings(f"city.{part}", self.password(part))

    def admin(self) -> KafkaSettings:
        """The settings of `init`."""
        return self.settings("admin", self.password("admin"), "PLAIN")


def make_secrets(folder: Path) -> str:
    command = [sys.executable, DEPLOY / "make_secrets.py", "--folder", folder]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def kafka_home(folder: Path) -> Path:
    """Make a folder that looks like the image's /opt/kafka, on the embedded Kafka's programs."""
    classpath = ":".join(str(jar) for jar in fetch_jars(pinned_jars(), jar_cache()))
    (folder / "bin").mkdir(parents=True)
    for name, arguments in _PROGRAMS.items():
        script = folder / "bin" / name
        script.write_text(
            f'#!/bin/sh\nCLASSPATH="{classpath}" exec "{java_program()}" {arguments} "$@"\n'
        )
        script.chmod(0o755)
    return folder


@contextlib.contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """The broker of docker-compose.yml outside a container, without topics, for the block."""
    secrets, run, port = folder / "secrets", folder / "run", free_port()
    make_secrets(secrets)
    run.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "SECRETS_DIR": str(secrets),
        "CONFIG_DIR": str(DEPLOY / "kafka"),
        "RUN_DIR": str(run),
        "DATA_DIR": str(folder / "data"),
        "KAFKA_HOME": str(kafka_home(folder / "kafka")),
        "ADVERTISED_HOST": "localhost",
        "PORT": str(port),
        "CONTROLLER_PORT": str(free_port()),
        "CLUSTER_ID": (secrets / "kafka.env").read_text().strip().removeprefix("CLUSTER_ID="),
    }
    kafka = SecuredKafka(port, secrets, run, environment, folder / "kafka.log")
    kafka.launch()
    try:
        kafka.child.wait_ready(lambda: port_answers(port), timeout_s=90)
        yield kafka
    finally:
        kafka.child.kill()
