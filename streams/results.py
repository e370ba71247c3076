"""From a window's readings to the records that are published; pure and thread-safe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np

from civicstream.cloudevents import cloud_headers
from civicstream.events import EnvironmentResult, Status, TrafficResult
from civicstream.kinds import Kind
from streams.environment import area_statistics
from streams.traffic import SegmentTable, segment_measures
from streams.windows import Columns, Window

__all__ = ["Record", "WindowResult", "calculate"]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Record:
    """A record to publish; ``topic`` without prefix, ``area`` its key."""

    topic: str
    area: str
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True)
class WindowResult:
    """The records of one window, and its readings once deduplicated."""

    records: list[Record]
    readings: Columns
    chunks: int
    """How many of the window's chunks went in."""
    unplaced_readings: int = 0


def calculate(
    kind: Kind,
    window: Window,
    areas: list[str],
    segments: SegmentTable,
    *,
    status: Status,
    now_ms: int,
    only_areas: set[int] | None = None,
    version: int | None = None,
) -> WindowResult:
    """Return the window's results per area, of ``only_areas`` where given.

    A final result has the same CloudEvents id whenever it is published again; a provisional one
    carries its ``version`` in the id.
    """
    chunks = list(window.chunks)
    readings = Columns.joined(chunks).deduplicated()
    chosen = readings
    if only_areas is not None:
        chosen = readings.take(np.isin(readings.area, np.fromiter(only_areas, np.int32)))
    suffix = status if version is None else f"{status}/{version}"

    def record(topic: str, area: str, value: bytes) -> Record:
        event_id = f"{kind.name}/{area}/{window.start}/{suffix}"
        headers = cloud_headers(
            topic.replace("results", "result"),
            source="/civicstream/streams",
            event_id=event_id,
            time_ms=now_ms,
            subject=area,
        )
        return Record(topic, area, value, headers)

    if kind.name == "traffic":
        measures = segment_measures(chosen, segments)
        records = [
            record(
                "results.traffic",
                area,
                _encode(TrafficResult(area, window.start, window.end, status, now_ms, rows)),
            )
            for area, rows in measures.rows_by_area().items()
        ]
        return WindowResult(records, readings, len(chunks), measures.unplaced_readings)
    records = _environment(kind, chosen, window, areas, status, now_ms, record)
    return WindowResult(records, readings, len(chunks))


def _environment(
    kind: Kind,
    readings: Columns,
    window: Window,
    areas: list[str],
    status: Status,
    now_ms: int,
    record: Callable[[str, str, bytes], Record],
) -> list[Record]:
    results = []
    for statistics in area_statistics(readings, kind):
        area = areas[statistics.area]
        result = EnvironmentResult(
            kind=kind.name,
            area=area,
            window_start=window.start,
            window_end=window.end,
            status=status,
            computed_at=now_ms,
            readings=statistics.readings,
            sensors=statistics.sensors,
            measures=statistics.measures,
        )
        results.append(record("results.environment", area, _encode(result)))
    return results
