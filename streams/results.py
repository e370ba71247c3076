"""From a window's readings to the records that are published; pure and thread-safe."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from civicstream.cloudevents import cloud_headers
from civicstream.events import EnvironmentResult, Status, TrafficResult
from civicstream.kinds import Kind
from streams.environment import area_statistics
from streams.health import Observed, SensorWatch
from streams.levels import encode_levels, newest_levels
from streams.network import MEASURES
from streams.network_frames import NetworkFrame, encode
from streams.traffic import SegmentMeasures, SegmentTable, segment_measures
from streams.windows import Columns, LateReadings, Window

__all__ = ["Calculation", "Record", "WindowResult", "make_record", "network_record"]

_encode = msgspec.json.Encoder().encode

_SOURCE = "/civicstream/streams"


@dataclass(frozen=True)
class Record:
    """A record to publish; ``topic`` without prefix, ``area`` its key."""

    topic: str
    area: str
    value: bytes
    headers: list[tuple[str, bytes]]


def make_record(topic: str, area: str, event: msgspec.Struct, event_id: str, now_ms: int) -> Record:
    """Return the record of an event: JSON with CloudEvents headers.

    Whenever the event is published again it has the same ``event_id``.
    """
    headers = cloud_headers(
        _EVENT_TYPES[topic], source=_SOURCE, event_id=event_id, time_ms=now_ms, subject=area
    )
    return Record(topic, area, _encode(event), headers)


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
}


@dataclass(frozen=True)
class WindowResult:
    """The records of one window, and its readings once deduplicated."""

    start: int
    records: list[Record]
    readings: Columns
    chunks: int
    """How many of the window's chunks went in."""
    measures: SegmentMeasures | None = None
    """Of traffic only."""

    @property
    def unplaced_readings(self) -> int:
        return self.measures.unplaced_readings if self.measures else 0


@dataclass
class Calculation:
    """The results of one kind in one partition; ``areas`` grows as the partition's areas appear."""

    kind: Kind
    areas: list[str]
    segments: SegmentTable
    watch: SensorWatch | None = None
    tells_levels: bool = False
    """Whether each final window's newest readings go to the topic ``levels``."""

    def final(self, window: Window, late: list[LateReadings], now_ms: int) -> WindowResult:
        """Return the window's final results, with ids that stay the same when repeated.

        ``late`` is what came too late since the last final window. Broken sensors are left out;
        what the watch found is among the records.
        """
        chunks = list(window.chunks)
        readings = Columns.joined(chunks).deduplicated()
        if self.watch is None:
            records, measures = self._results(window, readings, "final", "final", now_ms)
            records += self._levels(window, readings, now_ms)
            return WindowResult(window.start, records, readings, len(chunks), measures)
        observed = self.watch.observe(
            window.start, window.end, readings, self.areas, LateReadings.joined(late), now_ms
        )
        healthy = readings.take(~observed.excluded) if observed.excluded.any() else readings
        records, measures = self._results(window, healthy, "final", "final", now_ms)
        records += _watch_records(observed, now_ms) + self._levels(window, healthy, now_ms)
        return WindowResult(window.start, records, readings, len(chunks), measures)

    def _levels(self, window: Window, readings: Columns, now_ms: int) -> list[Record]:
        if not self.tells_levels:
            return []
        found = newest_levels(readings, self.areas, self.kind, window.start, window.end)
        return [
            Record(
                "levels",
                levels.area,
                encode_levels(levels),
                cloud_headers(
                    "levels",
                    source=_SOURCE,
                    event_id=f"levels/{levels.kind}/{levels.area}/{levels.window_start}",
                    time_ms=now_ms,
                    subject=levels.area,
                ),
            )
            for levels in found
        ]

    def provisional(
        self, window: Window, only_areas: set[int], version: int, now_ms: int
    ) -> WindowResult:
        """Return the results of ``only_areas`` as they are now; ``version`` is part of the ids."""
        chunks = list(window.chunks)
        readings = Columns.joined(chunks).deduplicated()
        chosen = readings.take(np.isin(readings.area, np.fromiter(only_areas, np.int32)))
        if self.watch is not None and self.watch.unhealthy:
            chosen = chosen.take(~self.watch.broken(chosen.sensor_key))
        suffix = f"provisional/{version}"
        records, measures = self._results(window, chosen, "provisional", suffix, now_ms)
        return WindowResult(window.start, records, readings, len(chunks), measures)

    def _results(
        self, window: Window, readings: Columns, status: Status, suffix: str, now_ms: int
    ) -> tuple[list[Record], SegmentMeasures | None]:
        if self.kind.name == "traffic":
            measures = segment_measures(readings, self.segments)
            results: list[TrafficResult] | list[EnvironmentResult] = [
                TrafficResult(area, window.start, window.end, status, now_ms, rows)
                for area, rows in measures.rows_by_area().items()
            ]
        else:
            measures, results = None, self._environment(readings, window, status, now_ms)
        topic = "results.traffic" if measures else "results.environment"
        records = [
            make_record(
                *(topic, result.area, result),
                f"{self.kind.name}/{result.area}/{window.start}/{suffix}",
                now_ms,
            )
            for result in results
        ]
        return records, measures

    def _environment(
        self, readings: Columns, window: Window, status: Status, now_ms: int
    ) -> list[EnvironmentResult]:
        return [
            EnvironmentResult(
                kind=self.kind.name,
                area=self.areas[statistics.area],
                window_start=window.start,
                window_end=window.end,
                status=status,
                computed_at=now_ms,
                readings=statistics.readings,
                sensors=statistics.sensors,
                measures=statistics.measures,
            )
            for statistics in area_statistics(readings, self.kind)
        ]


def _watch_records(observed: Observed, now_ms: int) -> list[Record]:
    found = [
        make_record(
            *("health", change.area, change),
            f"health/{change.kind}/{change.sensor_key}/{change.window_end}/{change.health}",
            now_ms,
        )
        for change in observed.health
    ]
    return found + [
        make_record("anomalies", a.area, a, f"{a.id}/{a.version}", now_ms)
        for a in observed.anomalies
    ]


def network_record(
    partition: int, closed_until: int, results: list[WindowResult], now_ms: int
) -> Record:
    """Return what the closing of a partition tells the whole city's road network."""
    tables = [(r.start, r.measures) for r in results if r.measures and len(r.measures.segment)]
    starts = [np.full(len(m.segment), start, np.int64) for start, m in tables]
    segment = [m.segment for _, m in tables]
    columns = {
        name: np.concatenate([_EMPTY, *(getattr(m, _COLUMN_OF[name]) for _, m in tables)])
        for name in MEASURES
    }
    used, codes = np.unique(np.concatenate([_NO_SEGMENTS, *segment]), return_inverse=True)
    names = [tables[0][1].table.ids[i] for i in used.tolist()] if tables else []
    frame = NetworkFrame(
        partition=partition,
        closed_until=closed_until,
        published_at=now_ms,
        window_start=np.concatenate([np.zeros(0, np.int64), *starts]),
        segment=codes.astype(np.int32),
        segments=names,
        measures=columns,
    )
    headers = cloud_headers(
        "network",
        source=_SOURCE,
        event_id=f"{partition}/{closed_until}",
        time_ms=now_ms,
        subject=f"partition {partition}",
    )
    return Record("network", f"partition-{partition}", encode(frame), headers)


_EMPTY = np.zeros(0)
_NO_SEGMENTS = np.zeros(0, np.intp)
_COLUMN_OF = {name: name for name in MEASURES} | {"speed_kmh": "space_mean_speed_kmh"}
