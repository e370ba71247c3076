"""Writes batches as the sink does, without Kafka, and reads back what the database holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from pydantic import SecretStr

from civicstream.clock import now_ms
from civicstream.events import DeadLetter
from civicstream.frames import Dictionary, Frame, FrameHeaders, encode
from civicstream.kafka.log_gaps import Position
from civicstream.kafka.sequences import Gap
from civicstream.kinds import KINDS
from civicstream.postgres import Connection, connect
from civicstream.settings import (
    CitySettings,
    DatabaseSettings,
    KafkaSettings,
    Settings,
    SinkSettings,
)
from sinks import offsets
from sinks.admin.init import init_database
from sinks.batching import Batch, Routes
from sinks.records import KafkaRecord, TopicPartition
from sinks.transaction import BatchWriter
from sinks.writer import NOT_STORABLE
from sinks.written import Written
from tests.kit.sink_input import sensors

TOPIC_ID = UUID(int=7)
ROUTES = Routes("city")


def as_role(url: str, role: str) -> SecretStr:
    """Return the URL for logging in as ``role``, whose password is its name."""
    return SecretStr(psycopg.conninfo.make_conninfo(url, user=role, password=role))


FOR_EVER = dict.fromkeys(
    (
        "readings_retention_days",
        "results_retention_days",
        "forecasts_retention_days",
        "units_retention_days",
    ),
    36_500,
)
"""Most tests write rows of a fixed day in the past."""


def settings_for(
    url: str,
    kafka: KafkaSettings | None = None,
    city: CitySettings | None = None,
    keep: Mapping[str, int] = FOR_EVER,
    **sink: Any,
) -> Settings:
    """Return settings whose parts run as the writer, and `init` as the given superuser."""
    return Settings(
        kafka=kafka or KafkaSettings(),
        city=city or CitySettings(),
        sink=SinkSettings(id="sink-1", **sink),
        database=DatabaseSettings(
            url=as_role(url, "civicstream_writer"),
            owner_url=SecretStr(url),
            writer_password=SecretStr("civicstream_writer"),
            reader_password=SecretStr("civicstream_reader"),
            private_password=SecretStr("civicstream_private"),
            private_url=as_role(url, "civicstream_private"),
            **keep,
        ),
    )


def hold_jobs(url: str) -> None:
    """Keep TimescaleDB's own jobs, where it has any, from taking old rows before a test looks."""
    with psycopg.connect(url, autocommit=True) as admin:
        if admin.execute("SELECT to_regclass('timescaledb_information.jobs')").fetchone() != (
            None,
        ):
            admin.execute(
                "SELECT alter_job(job_id, scheduled => false) "
                "FROM timescaledb_information.jobs WHERE job_id >= 1000"
            )


@dataclass
class Loader:
    """One writer on one connection; records are numbered per partition by itself."""

    connection: Connection
    url: str = ""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    positions: dict[TopicPartition, Position] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.writer = BatchWriter(self.connection, "sink-1", self._announce)
        self._seq: dict[TopicPartition, int] = {}
        self._offset: dict[TopicPartition, int] = {}

    def _announce(self, dead_letters: Sequence[DeadLetter], gaps: Sequence[Gap]) -> None:
        self.dead_letters += dead_letters
        self.gaps += gaps

    def record(
        self,
        topic: str,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        partition: int = 0,
        key: bytes | None = None,
    ) -> KafkaRecord:
        place = TopicPartition(topic, partition)
        offset = self._offset.get(place, 0)
        self._offset[place] = offset + 1
        return KafkaRecord(place, offset, 0, headers, value, key)

    def frame(self, frame: Frame, *, ingested_at: int, seq: int | None = None) -> KafkaRecord:
        topic = f"city.frames.{frame.kind.name}"
        place = TopicPartition(topic, 0)
        number = self._seq.get(place, 0) if seq is None else seq
        self._seq[place] = number + 1
        headers = FrameHeaders("gateway-1", 1, number, len(frame), ingested_at)
        return self.record(topic, encode(frame), headers.to_kafka())

    def write(self, *records: KafkaRecord) -> Written:
        """Write one batch as the service does: again with care when rows are refused."""
        batch = Batch(ROUTES, "sink-1")
        batch.add(records, now_ms())
        new = [place for place in batch.next if place not in self.positions]
        begun = {place: Position(0, str(TOPIC_ID)) for place in new}
        before = offsets.stored(self.connection, new)
        offsets.save_positions(self.connection, before, begun | before)
        self.positions |= begun | before
        try:
            written = self.writer.write(batch, self.positions)
        except NOT_STORABLE:
            written = self.writer.write(batch, self.positions, careful=True)
        for place, following in batch.next.items():
            self.positions[place] = Position(following, str(TOPIC_ID))
        return written

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.connection.transaction():
            return self.connection.execute(query.encode()).fetchall()

    def seen_by_reader(self, query: str) -> list[tuple[Any, ...]]:
        """Return what people and dashboards get."""
        with connect(as_role(self.url, "civicstream_reader"), "test") as connection:
            return connection.execute(query.encode()).fetchall()


@contextmanager
def loader(url: str, keep: Mapping[str, int] = FOR_EVER) -> Iterator[Loader]:
    """Initialise the database and yield a loader that is connected as the writer."""
    settings = settings_for(url, keep=keep)
    init_database(settings)
    hold_jobs(url)
    with connect(settings.database.url, "test") as connection:
        connection.autocommit = True
        yield Loader(connection, url)


def noise(area: str, readings: Sequence[tuple[int, int, float]]) -> Frame:
    """Return a frame of (sensor number, ts, LAeq); LAmax is 10 above."""
    names, keys = sensors("noise", area, 1 + max(s for s, _, _ in readings))
    sensor, ts, level = (np.array(c) for c in zip(*readings, strict=True))
    return Frame(
        kind=KINDS["noise"],
        sensor_key=keys[sensor],
        sensor=Dictionary(sensor.astype(np.int32), names),
        area=Dictionary(np.zeros(len(ts), np.int32), [area]),
        ts=ts.astype(np.int64),
        measures={"LAeq": level.astype(np.float64), "LAmax": level + 10.0},
    )
