"""Which processes make up the stack, in what order, and what each waits for."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from civicstream.clock import REAL, wall_ms
from civicstream.personal import public_key_of
from civicstream.settings import Settings
from stack.data_folder import DataFolder
from stack.servers.brokers import launch_mqtt
from stack.servers.database import EmbeddedDatabase
from stack.servers.kafka_broker import BrokerOptions, broker_answers, launch_broker
from stack.servers.processes import Child, port_answers
from stack.up.addresses import LOOPBACK, Addresses
from stack.up.city_time import choose_city_time
from stack.up.figures import LedgerHistory
from stack.up.ledger_watch import LedgerWatch
from stack.up.options import StackOptions
from stack.up.part_settings import (
    Sections,
    clock_section,
    kafka_settings,
    part_environment,
    replay_sections,
    stack_sections,
)
from stack.up.supervisor import Part

__all__ = ["Stack"]

# Some of the simulated sensors break, so that there is something to find.
_BROKEN_SENSORS = ("--broken-sensors", "0.01", "--broken-within", "0.5")

_PEOPLE = ("--citizens", "200", "--crews", "12", "--trucks", "2")

_TRUTH_EVERY_S = 60

_STAGED_AFTER_S, _HISTORY_S = 0, 480
"""Whoever tries the stack should not have to wait: the first incident comes at once, on roads of
which eight minutes are known."""

_RECEIVERS = """\
# Who gets the alerts of this stack; deploy/receivers.toml shows what else there is.
[[receiver]]
name = "broker"
type = "mqtt"
"""


def _choose_city(options: StackOptions, settings: Settings, folder: DataFolder) -> Path | None:
    """Return the file of the city's model, which for a city of our making is still to be made.

    Raise ConfigurationError where the folder holds the readings of another city.
    """
    city = settings.city.file and settings.city.file.resolve()
    if options.replay:
        city = folder.path / "recorded-city.geojson"
    elif city is None and options.simulator:
        city = folder.path / f"city-{options.sensors}-sensors-seed-{options.seed}.geojson"
    return city if options.kafka and options.database else folder.keep_city(city)


class Stack:
    """One run's parts in the order of their start; ``watch`` follows their ledger reports."""

    def __init__(
        self, options: StackOptions, settings: Settings, addresses: Addresses, folder: DataFolder
    ) -> None:
        self._options = options
        self.addresses = addresses
        self._folder = folder
        self._database: EmbeddedDatabase | None = None
        url = addresses.database
        if url is None:
            port, log_file = addresses.database_port, folder.logs / "database.log"
            self._database = EmbeddedDatabase(folder.path / "database", port, log_file)
            url = self._role_url("writer")
        # A city of our invention goes with the simulator only; readings of your own have yours.
        self._makes_city = options.replay is not None or (
            settings.city.file is None and options.simulator
        )
        self.city = _choose_city(options, settings, folder)
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
        self.city_time = choose_city_time(options, settings, folder, wall_ms())
        if self.city_time.clock != REAL:
            self.sections["clock"] = clock_section(self.city_time.clock)
        if options.replay:
            self._suit_replay(settings, options.speed)
        self._kafka = kafka_settings(settings, self.sections)
        self.watch = LedgerWatch(self._kafka, since_ms=wall_ms())

    def _suit_replay(self, settings: Settings, speed: float) -> None:
        from sensors_sim.city_recording import PERIOD_MS, TIMEZONE

        period_s = PERIOD_MS // 1000
        for section, values in replay_sections(settings, speed, TIMEZONE, period_s).items():
            self.sections[section] = values | self.sections.get(section, {})

    def _role_url(self, role: str) -> str:
        at = f"{LOOPBACK}:{self.addresses.database_port}"
        password = self._folder.secret(f"database-{role}")
        return f"postgresql://civicstream_{role}:{password}@{at}/civicstream"

    @property
    def page_url(self) -> str:
        """Where the operations page is; citizens' reports come in below it, at /open311/v2."""
        return f"http://{LOOPBACK}:{self.addresses.http_port}/"

    @property
    def reader_url(self) -> str | None:
        """Address for people who only read; None where the database is not ours."""
        return self._role_url("reader") if self._database else None

    @property
    def has_broker(self) -> bool:
        """Whether the MQTT broker is ours, which asks nobody for a password."""
        return not self._options.mqtt

    def sections_for_people(self) -> Sections:
        """Return the settings with those that only commands for people need: the owner's rights."""
        owner = self._owner_sections().get("database", {})
        return {**self.sections, "database": self.sections["database"] | owner}

    def parts(self) -> list[Part]:
        servers = [*self._database_part(), *self._kafka_part(), *self._mqtt_part()]
        preparation = [*self._city_part(), self._init_part([p.name for p in servers])]
        if self._options.replay:
            simulated = [self._replay_part(self._options.replay)]
        else:
            simulated = [self._truth_part(), self._simulator_part()] * self._options.simulator
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
        port = int(self.addresses.kafka.rpartition(":")[2])
        options = BrokerOptions(port, self._folder.path / "kafka")
        log_file = self._folder.logs / "kafka.log"
        return [
            Part("kafka", lambda: launch_broker(options, log_file), lambda _: broker_answers(port))
        ]

    def _mqtt_part(self) -> list[Part]:
        if self._options.mqtt:
            return []
        port, folder = self.addresses.mqtt_port, self._folder.path / "mqtt"
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
        options, city = self._options, str(self.city)
        if options.replay:
            arguments = ("replay-city", *self._recording(options.replay), "--city-out", city)
        else:
            wanted = ("--sensors", str(options.sensors), "--seed", str(options.seed))
            arguments = ("city", *wanted, "--out", city)
        return [
            Part(
                "city",
                lambda: self._command(*arguments, name="city"),
                once=True,
            )
        ]

    def _init_part(self, servers: list[str]) -> Part:
        return Part(
            "init",
            lambda: self._command("init", sections=self._owner_sections()),
            after=(*(p.name for p in self._city_part()), *(s for s in servers if s != "mqtt")),
            once=True,
            on_ready=self.watch.open,
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
            drained=lambda asked_ms: self.watch.ask(lambda h: h.idle(name, asked_ms)),
        )

    def _simulator_part(self) -> Part:
        arguments = (
            "--seed",
            str(self._options.seed),
            "--rate",
            f"{self._options.rate:g}",
            "--truth",
            str(self._folder.truth),
            "--no-truth-readings",
            *_BROKEN_SENSORS,
            "--incidents",
            f"{self._options.incidents:g}",
            "--staged-incident",
            str(_STAGED_AFTER_S),
            "--history",
            str(_HISTORY_S),
            *_PEOPLE,
        )
        return Part(
            "simulator",
            lambda: self._command(
                "simulate", "--city", str(self.city), *arguments, name="simulator"
            ),
            lambda _: self.watch.ask(_readings_arrive),
            after=("gateway", "worker", "sink"),
        )

    def _recording(self, folder: Path) -> tuple[str, ...]:
        """Return the arguments that name the recording and the part of it."""
        begin, end = self._options.begin, self._options.end
        return (
            str(folder),
            *(("--from", begin) if begin else ()),
            *(("--until", end) if end else ()),
        )

    def _replay_part(self, folder: Path) -> Part:
        arguments = (
            *self._recording(folder),
            "--shift-ms",
            str(self.city_time.shift_ms),
            "--truth",
            str(self._folder.truth),
            "--no-truth-readings",
        )
        return Part(
            "replay",
            lambda: self._command("replay-city", *arguments, name="replay"),
            lambda _: self.watch.ask(_readings_arrive),
            after=("gateway", "worker", "sink"),
            ends=True,
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

    def _command(
        self, *arguments: str, sections: Sections | None = None, name: str | None = None
    ) -> Child:
        """Start one of our own commands.

        Left alone by a dead supervisor, it is killed: that loses nothing (offsets and acks are
        written with the rows), while an orderly end would wait for servers that end too.
        """
        environment = part_environment(self.sections, self._options.config)
        environment = part_environment(sections or {}, None, environment)
        name = name or arguments[0]
        return Child(
            name,
            [sys.executable, "-m", "stack.cli", *arguments],
            self._folder.logs / f"{name}.log",
            environment,
            orphan_signal=signal.SIGKILL,
        )


def _readings_arrive(history: LedgerHistory) -> bool:
    return history.figures("gateway", wall_ms()).rate > 0
