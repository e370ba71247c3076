"""From a window's readings to the records that are published; pure and thread-safe."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from civicstream.cloudevents import cloud_headers
from civicstream.events import EnvironmentResult, Status, TrafficResult
from civicstream.kinds import Kind
from streams.health import Observed, SensorWatch
from streams.runtime.records import SOURCE, Record, make_record, sliced_records
from streams.windows.environment import area_statistics
from streams.windows.levels import Levels, encode_levels, newest_levels
from streams.windows.network import MEASURES
from streams.windows.network_frames import NetworkFrame, encode
from streams.windows.traffic import SegmentMeasures, SegmentTable, segment_measures
from streams.windows.windows import Columns, LateReadings, Window

__all__ = ["Calculation", "WindowResult", "network_records"]


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
    publishes_levels: bool = False
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
        if not self.publishes_levels:
            return []
        found = newest_levels(readings, self.areas, self.kind, window.start, window.end)
        return [
            _levels_record(part, number, now_ms)
            for levels in found
            for number, part in enumerate(levels.slices(_LEVELS_ROWS))
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
        records = []
        for result in results:
            event_id = f"{self.kind.name}/{result.area}/{window.start}/{suffix}"
            if isinstance(result, TrafficResult):
                records += sliced_records("results.traffic", result.area, result, event_id, now_ms)
            else:
                topic = "results.environment"
                records.append(make_record(topic, result.area, result, event_id, now_ms))
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
            "health",
            change.area,
            change,
            f"health/{change.kind}/{change.sensor_key}/{change.window_end}/{change.health}",
            now_ms,
        )
        for change in observed.health
    ]
    return found + [
        make_record("anomalies", a.area, a, f"{a.id}/{a.version}", now_ms)
        for a in observed.anomalies
    ]


def _levels_record(levels: Levels, number: int, now_ms: int) -> Record:
    event_id = f"levels/{levels.kind}/{levels.area}/{levels.window_start}"
    headers = cloud_headers(
        "levels",
        source=SOURCE,
        event_id=event_id if not number else f"{event_id}/{number}",
        time_ms=now_ms,
        subject=levels.area,
    )
    return Record("levels", levels.area, encode_levels(levels), headers)


def network_records(
    partition: int, before: int, closed_until: int, results: list[WindowResult], now_ms: int
) -> list[Record]:
    """Return what the closing of a partition tells the whole city's road network.

    Some segments of one window each; only the last record says that windows up to
    ``closed_until`` are complete, the others what held before: ``before``.
    """
    frames = [
        _network_frame(partition, before, now_ms, result, first)
        for result in results
        if result.measures
        for first in range(0, len(result.measures.segment), _NETWORK_ROWS)
    ]
    if not frames:
        frames = [_network_frame(partition, before, now_ms)]
    frames[-1] = replace(frames[-1], closed_until=closed_until)
    return [
        Record(
            "network",
            f"partition-{partition}",
            encode(frame),
            cloud_headers(
                "network",
                source=SOURCE,
                event_id=f"{partition}/{closed_until}/{number}",
                time_ms=now_ms,
                subject=f"partition {partition}",
            ),
        )
        for number, frame in enumerate(frames)
    ]


def _network_frame(
    partition: int,
    closed_until: int,
    now_ms: int,
    result: WindowResult | None = None,
    first: int = 0,
) -> NetworkFrame:
    """Return the frame of some segments of a window, from the one at index ``first`` on."""
    measures = result.measures if result else None
    rows = slice(first, first + _NETWORK_ROWS)
    segment = measures.segment[rows] if measures else np.zeros(0, np.intp)
    start = result.start if result else 0
    return NetworkFrame(
        partition=partition,
        closed_until=closed_until,
        published_at=now_ms,
        window_start=np.full(len(segment), start, np.int64),
        segment=np.arange(len(segment), dtype=np.int32),
        segments=[measures.table.ids[i] for i in segment.tolist()] if measures else [],
        measures={
            name: getattr(measures, _COLUMN_OF[name])[rows] if measures else np.zeros(0)
            for name in MEASURES
        },
    )


# About 50 bytes each, and the segment's name.
_NETWORK_ROWS = 5_000
_LEVELS_ROWS = 10_000

_COLUMN_OF = {name: name for name in MEASURES} | {"speed_kmh": "space_mean_speed_kmh"}
