"""Which processes make up the stack, in what order, and what each waits for."""

from __future__ import annotations

import shutil
import signal
import sys

from kafka.errors import KafkaError

from civicstream.clock import now_ms
from civicstream.embedded.brokers import launch_kafka, launch_mqtt
from civicstream.embedded.data_folder import DataFolder
from civicstream.embedded.database import EmbeddedDatabase
from civicstream.embedded.figures import LedgerHistory
from civicstream.embedded.ledger_watch import LedgerWatch
from civicstream.embedded.part_settings import (
    Sections,
    kafka_settings,
    part_environment,
    stack_sections,
)
from civicstream.embedded.processes import Child, port_answers
from civicstream.embedded.stack_options import LOOPBACK, Addresses, StackOptions
from civicstream.embedded.supervisor import Part
from civicstream.errors import ConfigurationError
from civicstream.kafka.topic_admin import create_topics
from civicstream.personal import public_key_of
from civicstream.settings import Settings

__all__ = ["Stack"]

# Some of the simulated sensors break, so that there is something to find.
_BROKEN_SENSORS = ("--broken-sensors", "0.01", "--broken-within", "0.5")

_PEOPLE = ("--citizens", "200", "--crews", "12", "--trucks", "2")

_TRUTH_EVERY_S = 60

_RECEIVERS = """\
# Who gets the alerts of this stack; deploy/receivers.toml shows what else there is.
[[receiver]]
name = "broker"
type = "mqtt"
"""


class Stack:
    """One run's parts in the order of their start; ``watch`` follows their ledger reports."""

    def __init__(
        self, options: StackOptions, settings: Settings, addresses: Addresses, folder: DataFolder
    ) -> None:
        self._options = options
        self._addresses = addresses
        self._folder = folder
        self._database: EmbeddedDatabase | None = None
        url = addresses.database
        if url is None:
            port, log_file = addresses.database_port, folder.logs / "database.log"
            self._database = EmbeddedDatabase(folder.path / "database", port, log_file)
            url = self._role_url("writer")
        # A city of our invention goes with the simulator only; readings of your own have yours.
        self._makes_city = settings.city.file is None and options.simulator
        self.city = settings.city.file and settings.city.file.resolve()
        if self._makes_city:
            name = f"city-{options.sensors}-sensors-seed-{options.seed}.geojson"
            self.city = folder.path / name
        self.sections: Sections = stack_sections(
            settings, options, addresses, url, folder.path, self.city
        )
        self._opens: Sections = {}
        """Only who writes to citizens can open what is known of them."""
        if settings.privacy.public_key is None:
            private_key = folder.secret("privacy-private", random_bytes=32)
            self._opens = {"privacy": {"private_key": private_key}}
            self.sections["privacy"] = {
                "public_key": public_key_of(private_key),
                "pseudonym_key": folder.secret("privacy"),
            }
        if self._database:
            self.sections["feeds"]["database_url"] = self._role_url("reader")
        if not settings.feeds.model_fields_set & {"api_keys", "api_keys_file"}:
            # On loopback whoever reaches the port may report, as in the tutorial.
            self.sections["feeds"]["allow_anonymous"] = True
        self.sections["deliver"] = {"public_url": self.page_url.rstrip("/")}
        if settings.deliver.receivers_file is None:
            self.sections["deliver"]["receivers_file"] = str(folder.write_receivers(_RECEIVERS))
        self._kafka = kafka_settings(settings, self.sections)
        self.watch = LedgerWatch(self._kafka, since_ms=now_ms())
        # These end with the embedded broker, because its records end with it.
        self._bound = () if options.kafka else ("kafka",)

    def _role_url(self, role: str) -> str:
        at = f"{LOOPBACK}:{self._addresses.database_port}"
        password = self._folder.secret(f"database-{role}")
        return f"postgresql://civicstream_{role}:{password}@{at}/civicstream"

    @property
    def page_url(self) -> str:
        """Where the operations page is; citizens' reports come in below it, at /open311/v2."""
        return f"http://{LOOPBACK}:{self._addresses.http_port}/"

    @property
    def reader_url(self) -> str | None:
        """Address for people who only read; None where the database is not ours."""
        return self._role_url("reader") if self._database else None

    def parts(self) -> list[Part]:
        servers = [*self._database_part(), *self._kafka_part(), *self._mqtt_part()]
        preparation = [*self._city_part(), self._init_part([p.name for p in servers])]
        simulated = [self._truth_part(), self._simulator_part()] if self._options.simulator else []
        return [
            *servers,
            *preparation,
            self._service("sink"),
            self._service("worker"),
            self._service("gateway", *(() if self._options.mqtt else ("mqtt",))),
            self._service("feeds"),
            self._service("alerts"),
            self._service(
                "deliver", *(() if self._options.mqtt else ("mqtt",)), sections=self._opens
            ),
            *simulated,
        ]

    def _database_part(self) -> list[Part]:
        database = self._database
        if database is None:
            return []
        return [Part("database", database.launch, lambda _: database.ready())]

    def _kafka_part(self) -> list[Part]:
        if self._options.kafka:
            return []
        port = int(self._addresses.kafka.rpartition(":")[2])

        def launch() -> Child:
            self.watch.pause()
            # The worker's tables are only as good as the log they came from.
            shutil.rmtree(self._folder.path / "worker", ignore_errors=True)
            return launch_kafka(port, self._folder.logs)

        def ready(_started_ms: int) -> bool:
            # This broker makes a topic, with 4 partitions, for whoever asks about it first. So
            # ours are made at once; if somebody's client was quicker, start over with none.
            try:
                return port_answers(port) and create_topics(self._kafka) is not None
            except (ConfigurationError, KafkaError):
                return False

        return [Part("kafka", launch, ready, ready_within_s=10)]

    def _mqtt_part(self) -> list[Part]:
        if self._options.mqtt:
            return []
        port, folder = self._addresses.mqtt_port, self._folder.path / "mqtt"
        mosquitto = self._options.mosquitto
        return [
            Part(
                "mqtt",
                lambda: launch_mqtt(port, folder, prefer_mosquitto=mosquitto),
                lambda _: port_answers(port),
            )
        ]

    def _city_part(self) -> list[Part]:
        if not self._makes_city:
            return []
        arguments = ("--sensors", str(self._options.sensors), "--seed", str(self._options.seed))
        return [
            Part(
                "city",
                lambda: self._command("city", *arguments, "--out", str(self.city)),
                once=True,
                ready_within_s=600,  # a million sensors
            )
        ]

    def _init_part(self, servers: list[str]) -> Part:
        return Part(
            "init",
            lambda: self._command("init", sections=self._owner_sections()),
            after=(*(p.name for p in self._city_part()), *(s for s in servers if s != "mqtt")),
            bound_to=self._bound,
            once=True,
            ready_within_s=600,
            on_ready=self.watch.reopen,
        )

    def _owner_sections(self) -> Sections:
        if self._database is None:
            return {}
        return {
            "database": {
                "owner_url": self._database.url(),
                "writer_password": self._folder.secret("database-writer"),
                "reader_password": self._folder.secret("database-reader"),
                "private_password": self._folder.secret("database-private"),
            }
        }

    def _service(self, name: str, *after: str, sections: Sections | None = None) -> Part:
        return Part(
            name,
            lambda: self._command(name, sections=sections),
            lambda started_ms: self.watch.ask(lambda h: h.ready(name, started_ms)),
            after=("init", *after),
            bound_to=self._bound,
            drained=lambda asked_ms: self.watch.ask(lambda h: h.idle(name, asked_ms)),
        )

    def _simulator_part(self) -> Part:
        arguments = (
            *("--seed", str(self._options.seed), "--rate", f"{self._options.rate:g}"),
            *("--truth", str(self._folder.truth), "--no-truth-readings", *_BROKEN_SENSORS),
            *_PEOPLE,
        )

        def readings_arrive(history: LedgerHistory) -> bool:
            return history.figures("gateway", now_ms()).rate > 0

        return Part(
            "simulator",
            lambda: self._command("simulate", "--city", str(self.city), *arguments),
            lambda _: self.watch.ask(readings_arrive),
            after=("gateway", "worker", "sink"),
        )

    def _truth_part(self) -> Part:
        """Hold what is detected against what the simulator says, in tables of the database."""
        every = ("--every", str(_TRUTH_EVERY_S))
        return Part(
            "truth",
            lambda: self._command(
                "truth", str(self._folder.truth), *every, sections=self._owner_sections()
            ),
            after=("init",),
        )

    def _command(self, *arguments: str, sections: Sections | None = None) -> Child:
        """Start one of our own commands.

        Left alone by a dead supervisor, it is killed: that loses nothing (offsets and acks are
        written with the rows), while an orderly end would wait for servers that end too.
        """
        environment = part_environment(self.sections, self._options.config)
        environment = part_environment(sections or {}, None, environment)
        name = "simulator" if arguments[0] == "simulate" else arguments[0]
        return Child(
            name,
            [sys.executable, "-m", "civicstream.cli", *arguments],
            self._folder.logs / f"{name}.log",
            environment,
            orphan_signal=signal.SIGKILL,
        )
