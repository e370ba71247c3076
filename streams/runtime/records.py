"""Records to publish, as values: what every task of the worker gives to its transaction."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from civicstream.cloudevents import cloud_headers
from civicstream.events import TrafficForecast, TrafficResult

__all__ = ["SOURCE", "Record", "make_record", "sliced_records"]

_encode = msgspec.json.Encoder().encode
SOURCE = "/civicstream/streams"
_SLICE_BYTES = 512 * 1024
"""An event of many rows is published in records of about so much, half of what Kafka takes."""
_EVENT_TYPES = {
    "results.traffic": "result.traffic",
    "results.environment": "result.environment",
    "incidents": "incident",
    "forecasts": "forecast",
    "health": "health",
    "anomalies": "anomaly",
    "cases": "case",
    "allocations": "allocation",
    "demand": "demand",
    "bins": "bin_forecast",
    "parking": "parking_forecast",
    "tours": "tour",
    "deadletter": "deadletter",
    "gaps": "gap",
}


@dataclass(frozen=True)
class Record:
    """A record to publish; ``topic`` without prefix, ``area`` its key."""

    topic: str
    area: str
    value: bytes
    headers: list[tuple[str, bytes]]
    partition: int | None = None
    """None: the area's."""


def make_record(topic: str, area: str, event: msgspec.Struct, event_id: str, now_ms: int) -> Record:
    """Return the record of an event: JSON with CloudEvents headers.

    Whenever the event is published again it has the same ``event_id``.
    """
    headers = cloud_headers(
        _EVENT_TYPES[topic], source=SOURCE, event_id=event_id, time_ms=now_ms, subject=area
    )
    return Record(topic, area, _encode(event), headers)


def sliced_records(
    topic: str, area: str, event: TrafficResult | TrafficForecast, event_id: str, now_ms: int
) -> list[Record]:
    """Return the records of an event with a row per segment: one, or several with some rows each.

    The first has ``event_id``, the others that and their number.
    """
    whole = make_record(topic, area, event, event_id, now_ms)
    slices = -(-len(whole.value) // _SLICE_BYTES)
    if slices == 1:
        return [whole]
    rows = -(-len(event.segments) // slices)
    return [
        make_record(
            topic,
            area,
            msgspec.structs.replace(event, segments=event.segments[first : first + rows]),
            event_id if not number else f"{event_id}/{number}",
            now_ms,
        )
        for number, first in enumerate(range(0, len(event.segments), rows))
    ]
