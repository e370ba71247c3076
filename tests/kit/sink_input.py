"""What the sink's tests feed it: numbered frames with known readings, and the rows expected."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from kafka import KafkaProducer
from numpy.typing import NDArray

from civicstream.frames import Dictionary, Frame, FrameHeaders, encode
from civicstream.kafka.clients import producer
from civicstream.kinds import KINDS, sensor_key
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import frames_topic, topic_name

START = 1_780_000_000_000


def sensors(kind: str, area: str, count: int) -> tuple[list[str], NDArray[np.int64]]:
    """Return names and keys of ``count`` sensors of an area."""
    names = [f"{area}-{kind}-{i}" for i in range(count)]
    return names, np.array([sensor_key(kind, area, name) for name in names], np.int64)


def frame_of(
    kind: str,
    area: str,
    names: list[str],
    keys: NDArray[np.int64],
    sensor: NDArray[np.int64],
    ts: NDArray[np.int64],
    rng: np.random.Generator,
) -> Frame:
    """Return readings of sensors ``sensor`` (indices) at ``ts`` with values in range."""
    measures = {}
    for measure in KINDS[kind].measures:
        low = max(measure.minimum, -50)
        high = min(measure.maximum, low + 300)
        values = rng.uniform(low, high, len(ts))
        if measure.integer:
            values = np.trunc(values)
        if not measure.required:
            values[rng.random(len(ts)) < 0.1] = np.nan
        measures[measure.name] = values
    return Frame(
        kind=KINDS[kind],
        sensor_key=keys[sensor],
        sensor=Dictionary(sensor.astype(np.int32), names),
        area=Dictionary(np.zeros(len(ts), np.int32), [area]),
        ts=ts,
        measures=measures,
    )


@dataclass
class Gateway:
    """Publishes numbered frames as a gateway does, and remembers what was published."""

    kafka: KafkaSettings
    name: str = "gateway-1"
    epoch: int = START
    sent: int = 0
    _seq: dict[tuple[str, int], int] = field(default_factory=dict)
    _producer: KafkaProducer | None = None

    def __enter__(self) -> Gateway:
        self._producer = producer(self.kafka, linger_ms=5)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._producer is not None
        self._producer.close(timeout=10)

    def topic(self, kind: str) -> str:
        return topic_name(self.kafka.topic_prefix, frames_topic(kind))

    def skip(self, kind: str, area: str, frames: int = 1) -> None:
        """Leave numbers out, as a loss between gateway and Kafka would."""
        place = (self.topic(kind), partition_of(area, self.kafka.partitions))
        self._seq[place] = self._seq.get(place, 0) + frames

    def publish(
        self, area: str, frame: Frame, ingested_at: int | None = None, seq: int | None = None
    ) -> None:
        assert self._producer is not None
        topic = self.topic(frame.kind.name)
        place = (topic, partition_of(area, self.kafka.partitions))
        number = self._seq.get(place, 0) if seq is None else seq
        self._seq[place] = max(number + 1, self._seq.get(place, 0))
        when = int(frame.ts.max()) + 50 if ingested_at is None else ingested_at
        headers = FrameHeaders(self.name, self.epoch, number, len(frame), when)
        self._producer.send(topic, encode(frame), partition=place[1], headers=headers.to_kafka())
        self.sent += len(frame)

    def raw(self, topic: str, value: bytes, **options: object) -> None:
        """Publish any bytes on an unprefixed topic."""
        assert self._producer is not None
        self._producer.send(topic_name(self.kafka.topic_prefix, topic), value, **options)

    def flush(self) -> None:
        assert self._producer is not None
        self._producer.flush(timeout=20)
