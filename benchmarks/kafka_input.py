"""Puts a workload on Kafka before the measurement: as frames for us, as JSON for the peers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from benchmarks.workload import Load, Readings, frames, rounds
from civicstream import frames as codec
from civicstream.errors import ServerUnavailable
from civicstream.frames import FrameHeaders
from civicstream.kafka.clients import client_config, producer
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name

__all__ = ["Produced", "create_topic", "produce_frames", "produce_json"]

GATEWAY = "bench"
WINDOW_MS = 60_000
# Past every window of the load by more than lateness and out-of-orderness together.
CLOSING_AFTER_MS = 10 * WINDOW_MS
_UNCONFIRMED = 500  # records under way before we wait, so that the sender's memory is bounded


@dataclass(frozen=True)
class Produced:
    """What was put on Kafka. ``distinct`` leaves out repeats; ``windows`` is (area, minute)."""

    readings: int
    distinct: int
    frames: int
    windows: int
    minutes: int
    closing_ms: int
    """Readings at this time close the load's windows and are no part of it."""


def produce_frames(kafka: KafkaSettings, load: Load, readings: int, *, frame_size: int) -> Produced:
    """Put at least ``readings`` readings on the traffic frames topic, and close their windows."""
    tally = _Tally(load)
    output = _FrameOutput(kafka)
    try:
        batches = tally.watch(rounds(load, readings))
        for partition, frame in frames(
            load, batches, partitions=kafka.partitions, frame_size=frame_size
        ):
            output.send(partition, frame)
        closing_ms = tally.last_ms // WINDOW_MS * WINDOW_MS + CLOSING_AFTER_MS
        for partition, frame in _closing_frames(load, closing_ms, kafka.partitions):
            output.send(partition, frame)
    finally:
        output.close()
    return Produced(
        readings=tally.readings,
        distinct=tally.readings - tally.repeats,
        frames=output.frames,
        windows=tally.windows,
        minutes=tally.minutes,
        closing_ms=closing_ms,
    )


class _Tally:
    """Counts what goes by, for comparison with what comes out."""

    def __init__(self, load: Load) -> None:
        self._area = load.city.sensors.area.astype(np.int64)
        self._seen: set[int] = set()
        self.readings = self.repeats = self.last_ms = 0

    def watch(self, batches: Iterator[Readings]) -> Iterator[Readings]:
        for batch in batches:
            self.readings += len(batch)
            self.repeats += batch.repeats
            self.last_ms = max(self.last_ms, int(batch.ts.max()))
            window = batch.ts // WINDOW_MS * (1 << 20) + self._area[batch.sensor]
            self._seen.update(np.unique(window).tolist())
            yield batch

    @property
    def windows(self) -> int:
        return len(self._seen)

    @property
    def minutes(self) -> int:
        return len({window >> 20 for window in self._seen})


def _closing_frames(load: Load, ts: int, partitions: int) -> Iterator[tuple[int, codec.Frame]]:
    """Yield one reading per area at ``ts``: its partition's watermark passes every window."""
    first_of_area = np.unique(load.city.sensors.area, return_index=True)[1]
    count = len(first_of_area)
    readings = Readings(
        first_of_area.astype(np.int64), np.full(count, ts), np.ones(count), np.full(count, 50.0)
    )
    return frames(load, iter([readings]), partitions=partitions, frame_size=count)


class _FrameOutput:
    """Sends frames with consecutive ``seq`` per partition and waits for Kafka's confirmation."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._topic = topic_name(kafka.topic_prefix, "frames.traffic")
        self._producer = producer(kafka, max_request_size=8 << 20)
        self._seq = dict.fromkeys(range(kafka.partitions), 0)
        self._pending: list[Any] = []

    @property
    def frames(self) -> int:
        return sum(self._seq.values())

    def send(self, partition: int, frame: codec.Frame) -> None:
        # One epoch for the run; ingestion follows the readings, as on a live city.
        ingested_at = int(frame.ts.max()) + 50
        headers = FrameHeaders(GATEWAY, 1, self._seq[partition], len(frame), ingested_at)
        self._seq[partition] += 1
        value = codec.encode(frame)
        self._pending.append(
            self._producer.send(self._topic, value, partition=partition, headers=headers.to_kafka())
        )
        if len(self._pending) >= _UNCONFIRMED:
            self._confirm()

    def _confirm(self) -> None:
        for future in self._pending:
            future.get(timeout=60)
        self._pending.clear()

    def close(self) -> None:
        try:
            self._confirm()
        finally:
            self._producer.close()


def create_topic(kafka: KafkaSettings, name: str, *, partitions: int | None = None) -> None:
    """Create a topic of the bench's own."""
    admin = KafkaAdminClient(**client_config(kafka))
    try:
        # Quix Streams insists on a topic that tells its settings; this broker tells only those
        # that were given.
        settings = {"retention.ms": "604800000", "cleanup.policy": "delete"}
        admin.create_topics(
            [NewTopic(name, partitions or kafka.partitions, 1, topic_configs=settings)]
        )
    finally:
        admin.close()


def produce_json(kafka: KafkaSettings, load: Load, readings: int, topic: str) -> int:
    """Put at least ``readings`` readings on ``topic``, one JSON record each; return how many.

    Key: the sensor; partition: by area, as our frames; value: what a sensor would send.
    """
    create_topic(kafka, topic)
    partition = [partition_of(a.id, kafka.partitions) for a in load.city.areas]
    sensor_partition = [partition[a] for a in load.city.sensors.area.tolist()]
    ids = load.city.sensors.ids
    encode = msgspec.json.Encoder().encode
    sent = 0
    failures: list[Exception] = []
    sender = producer(kafka, linger_ms=20, batch_size=256 << 10)
    try:
        for batch in rounds(load, readings):
            columns = (batch.sensor, batch.ts, batch.intensity, batch.speed)
            for s, ts, vehicles, speed in zip(*(c.tolist() for c in columns), strict=True):
                value = {
                    "sensor": ids[s],
                    "ts": ts,
                    "intensity": vehicles,
                    "averageVehicleSpeed": round(speed, 1),
                }
                sender.send(
                    topic, encode(value), key=ids[s].encode(), partition=sensor_partition[s]
                ).add_errback(failures.append)
            sent += len(batch)
        sender.flush(timeout=60)
    finally:
        sender.close()
    if failures:
        raise ServerUnavailable(f"{len(failures)} records were not taken: {failures[0]}")
    return sent
