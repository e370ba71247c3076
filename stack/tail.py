"""`civicstream tail`: any Kafka topic of the system as JSON lines.

Frames come as one line per reading, everything else as the record's own JSON.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Literal, TextIO

import msgspec
import numpy as np
from kafka import KafkaConsumer, TopicPartition

from civicstream.errors import ConfigurationError, CorruptFrame
from civicstream.frames import Frame, decode
from civicstream.kafka.clients import consumer, wait_for_kafka
from civicstream.kinds import KINDS
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS, frames_topic, topic_name

__all__ = ["Start", "frame_lines", "record_lines", "tail"]

Start = Literal["beginning", "end"]

_KIND_OF_TOPIC = {frames_topic(kind): kind for kind in KINDS}


def tail(
    kafka: KafkaSettings,
    topic: str,
    *,
    start: Start,
    stop: threading.Event,
    limit: int | None = None,
    area: str | None = None,
    out: TextIO = sys.stdout,
) -> None:
    """Write the topic's records as JSON lines until ``stop`` or ``limit`` lines.

    ``topic`` is a declared name, with or without the prefix. Raise ConfigurationError for one
    that is not declared or does not exist.
    """
    name = topic.removeprefix(f"{kafka.topic_prefix}.")
    if name not in TOPICS:
        raise ConfigurationError(f"topic {topic!r} is not one of: {', '.join(TOPICS)}")
    wait_for_kafka(kafka, stop=stop)
    if stop.is_set():
        return
    reader = consumer(kafka, group_id=None)
    try:
        _start_at(reader, topic_name(kafka.topic_prefix, name), start)
        out.writelines(
            line + "\n" for line in itertools.islice(_lines(reader, name, area, stop, out), limit)
        )
        out.flush()
    except BrokenPipeError:  # `civicstream tail … | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        reader.close()


def _start_at(reader: KafkaConsumer, topic: str, start: Start) -> None:
    partitions = reader.partitions_for_topic(topic)
    if not partitions:
        raise ConfigurationError(f"topic {topic} does not exist yet; run `civicstream init`")
    assigned = [TopicPartition(topic, p) for p in sorted(partitions)]
    reader.assign(assigned)
    if start == "beginning":
        reader.seek_to_beginning(*assigned)
    else:
        reader.seek_to_end(*assigned)


def _lines(
    reader: KafkaConsumer, name: str, area: str | None, stop: threading.Event, out: TextIO
) -> Iterator[str]:
    while not stop.is_set():
        for records in reader.poll(timeout_ms=200).values():
            for record in records:
                place = f"partition {record.partition}, offset {record.offset}"
                yield from record_lines(name, record.value, record.headers, place, area)
        out.flush()


def record_lines(
    topic: str,
    value: bytes | None,
    headers: Iterable[tuple[str, bytes]],
    place: str,
    area: str | None = None,
) -> Iterator[str]:
    """Yield the JSON lines of one record of ``topic`` (unprefixed), of one area if given.

    What cannot be read yields one line that says so and where (``place``).
    """
    try:
        kind = _kind_of(topic, headers)
        if kind is not None:
            yield from frame_lines(decode(value or b"", kind), area)
        elif area is None or _area_of(value or b"null") == area:
            yield msgspec.json.format(value or b"null", indent=-1).decode()
    except (CorruptFrame, msgspec.DecodeError, UnicodeDecodeError) as error:
        yield msgspec.json.encode({"unreadable": str(error), "at": place}).decode()


def _kind_of(topic: str, headers: Iterable[tuple[str, bytes]]) -> str | None:
    if topic == "parked":
        topic = dict(headers).get("parked_topic", b"").decode(errors="replace")
    if topic != "late":
        return _KIND_OF_TOPIC.get(topic)
    kind = dict(headers).get("kind", b"").decode(errors="replace")
    if kind not in KINDS:
        raise CorruptFrame("foreign_frame", f"kind {kind!r} is not known")
    return kind


def _area_of(value: bytes) -> str | None:
    event = msgspec.json.decode(value)
    return event.get("area") if isinstance(event, dict) else None


def frame_lines(frame: Frame, area: str | None = None) -> Iterator[str]:
    """Yield a JSON object per reading: kind, area, sensor, ts [ms], the measures that it has."""
    areas = np.array(frame.area.values, dtype=object)[frame.area.codes]
    rows = np.arange(len(frame)) if area is None else np.flatnonzero(areas == area)
    sensors = np.array(frame.sensor.values, dtype=object)[frame.sensor.codes]
    names = frame.kind.measure_names
    measures = zip(*(frame.measures[name][rows].tolist() for name in names), strict=True)
    fixed = zip(areas[rows], sensors[rows], frame.ts[rows].tolist(), strict=True)
    for (area_id, sensor, ts), values in zip(fixed, measures, strict=True):
        reading = {"kind": frame.kind.name, "area": area_id, "sensor": sensor, "ts": ts}
        # NaN is the frame's "not measured", and the one value that is not itself.
        reading |= {n: v for n, v in zip(names, values, strict=True) if v == v}  # noqa: PLR0124
        yield msgspec.json.encode(reading).decode()
