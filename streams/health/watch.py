"""The watch over all sensors of one kind in one partition: health and anomalies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.events import Anomaly, SensorHealth
from civicstream.kinds import Kind
from streams.health import (
    blocks,
    contradictions,
    drift,
    evidence,
    punctuality,
    scatter,
    stillness,
    unusual,
    verdict,
)
from streams.health.expectations import (
    EFFECTIVE_LENGTH,
    expected_measures,
    needed_measures,
)
from streams.health.ordered import OrderedReadings, order_readings
from streams.health.places import SensorPlaces
from streams.health.punctuality import LateArrivals
from streams.health.reasons import reason
from streams.health.roll import SensorRoll
from streams.health.sensor_table import SensorTable
from streams.health.series import AnomalySeries
from streams.health.snapshot import pack, unpack
from streams.health.unusual import AnomalyChange, Detector, ScoredBlock
from streams.health.verdict import HEALTH, OK, Change
from streams.windows.windows import Columns, LateReadings

__all__ = ["Observed", "SensorWatch"]

Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

_COLUMNS = (
    *verdict.COLUMNS,
    *contradictions.COLUMNS,
    *punctuality.COLUMNS,
    *evidence.COLUMNS,
    *stillness.COLUMNS,
    *scatter.COLUMNS,
    *drift.COLUMNS,
    *blocks.COLUMNS,
    *unusual.COLUMNS,
)


@dataclass(frozen=True)
class Observed:
    """What one window showed; lists are in the order of the sensors' keys."""

    excluded: Bools
    """[readings] those of sensors that are not ok: to be left out of the results."""
    health: list[SensorHealth]
    anomalies: list[Anomaly]


class SensorWatch:
    """All state per sensor is in here; ``observe`` is a function of it and of the input alone."""

    def __init__(
        self,
        kind: Kind,
        city: City,
        *,
        places: SensorPlaces | None = None,
        detector: Detector | None = None,
        offset_ms: Callable[[int], int] | None = None,
    ) -> None:
        """``places`` of the kind may be shared; they are made from ``city`` where not given.

        ``detector`` must be young; without one there are no anomalies, only health. It lives by
        the local time that ``offset_ms`` gives: local time minus UTC at a time [ms].
        """
        self._kind = kind
        self._measures = expected_measures(kind.name)
        self._needed = needed_measures(kind.name)
        self._table = SensorTable(_COLUMNS, len(self._measures))
        self._roll = SensorRoll(places or SensorPlaces(city, kind), self._table)
        self._series = AnomalySeries(self._measures, detector, offset_ms)

    @property
    def areas(self) -> list[str]:
        """The areas it has sensors of."""
        return self._roll.areas

    @property
    def unhealthy(self) -> int:
        """How many sensors are not ok."""
        return int(np.count_nonzero(self._table["health"] != OK))

    def __len__(self) -> int:
        return len(self._table)

    def broken(self, sensor_key: NDArray[np.int64]) -> Bools:
        """Return which of the sensors are not ok at present; those that never reported are."""
        row = self._table.rows(sensor_key)
        state = np.append(self._table["health"], np.uint8(OK))
        return np.asarray(state[row] != OK)

    def observe(
        self,
        window_start: int,
        window_end: int,
        readings: Columns,
        area_names: Sequence[str],
        late: LateReadings,
        now_ms: int,
    ) -> Observed:
        """Judge one closed window; to be called once for each, in order.

        ``readings`` are the window's, deduplicated, with codes into ``area_names``; ``late`` are
        those that came too late since the last call. ``now_ms`` only stamps the events.
        """
        window_ms = window_end - window_start
        row, arrivals = self._roll.enrol(readings, area_names, late.sensor_key, window_start)
        self._series.grow_to(len(self._table))
        judged = {name: readings.measures[name] for name in self._needed}
        ordered = order_readings(row, readings.ts, readings.ingested_at, judged)
        self._weigh_readings(ordered)
        known = arrivals >= 0
        arrived = LateArrivals(arrivals[known], late.ts[known], late.ingested_at[known])
        punctuality.judge_clocks(self._table, ordered, arrived, window_end)
        speaking = self._table["health"] != HEALTH.index("silent")
        punctuality.judge_silence(self._table, ordered, window_ms, speaking)
        means = self._weigh_blocks(window_end, window_ms)
        changes = verdict.judge(self._table, ordered, self._measures, window_start, window_end)
        unusual_ = self._follow_anomalies(means, changes, window_end, window_ms)
        return Observed(
            self._table["health"][row] != OK,
            [self._health_event(change, window_end, now_ms) for change in changes],
            [self._anomaly_event(change, window_end, now_ms) for change in unusual_],
        )

    def _weigh_readings(self, ordered: OrderedReadings) -> None:
        table, ok = self._table, self._table["health"] == OK
        if self._kind.name == "traffic":
            length = contradictions.log_effective_length(ordered.measures)
            ordered.measures[EFFECTIVE_LENGTH] = length
        contradictions.judge_contradictions(
            table, ordered, self._kind.name, self._roll.lanes, self._measures
        )
        for m, expected in enumerate(self._measures):
            if not expected.derived:
                stillness.judge_stillness(table, ordered, m, expected, ok)
            blocks.add_to_block(table, ordered, m, expected)

    def _weigh_blocks(self, window_end: int, window_ms: int) -> dict[int, NDArray[np.float64]]:
        """Judge drift by the blocks that end with this window; return their means."""
        ok = self._table["health"] == OK
        means = {}
        # What is derived comes first: it tells whether a deviation is the traffic's.
        order = sorted(range(len(self._measures)), key=lambda m: not self._measures[m].derived)
        for m in order:
            expected = self._measures[m]
            if blocks.is_due(window_end, window_ms, m):
                means[m] = blocks.take_block(self._table, m)
                drift.judge_drift(self._table, self._roll.neighbours, m, means[m], expected, ok)
        return means

    def _follow_anomalies(
        self,
        means: dict[int, NDArray[np.float64]],
        changes: list[Change],
        window_end: int,
        window_ms: int,
    ) -> list[AnomalyChange]:
        broken = np.array([c.row for c in changes if c.health != OK], np.intp)
        found = unusual.close_of_the_broken(self._table, broken)
        ok = self._table["health"] == OK
        begun = window_end - blocks.BLOCK_WINDOWS * window_ms
        for m, mean in means.items():
            rows = np.flatnonzero(ok & ~np.isnan(mean))
            scores = self._series.score(m, rows, window_end, mean[rows])
            if scores is not None:
                block = ScoredBlock(m, rows, mean[rows], scores, begun, window_end)
                found += unusual.follow(self._table, self._roll.neighbours, block)
        return sorted(found, key=lambda c: (int(self._table.keys[c.row]), c.measure))

    def _health_event(self, change: Change, window_end: int, now_ms: int) -> SensorHealth:
        row = change.row
        return SensorHealth(
            sensor_key=int(self._table.keys[row]),
            kind=self._kind.name,
            area=self._roll.area_of(row),
            sensor=self._roll.name_of(row),
            health=HEALTH[change.health],
            reason=reason(self._table, self._kind, self._measures, change),
            since=change.since,
            before=HEALTH[change.before],
            window_end=window_end,
            computed_at=now_ms,
        )

    def _anomaly_event(self, change: AnomalyChange, window_end: int, now_ms: int) -> Anomaly:
        table, row, m = self._table, change.row, change.measure
        key, area = int(table.keys[row]), self._roll.area_of(row)
        measure = self._measures[m].name
        value, expected, low, high, peak = (
            float(table[f"anomaly_{name}"][row, m])
            for name in ("value", "expected", "low", "high", "peak")
        )
        unsigned = key & 0xFFFF_FFFF_FFFF_FFFF
        event = Anomaly(
            id=f"{self._kind.name}/{area}/{unsigned:016x}/{measure}/{change.since}",
            version=int(table["anomaly_version"][row, m]),
            state=change.state,
            kind=self._kind.name,
            area=area,
            sensor_key=key,
            sensor=self._roll.name_of(row),
            measure=measure,
            score=peak,
            value=value,
            expected=expected,
            low=low,
            high=high,
            started_at=change.since,
            last_at=window_end,
            window_end=window_end,
            computed_at=now_ms,
        )
        if change.state == "closed":
            unusual.forget(table, change)
        return event

    def dump(self, area: str) -> bytes:
        """Return an area's fast state: exact, to be written at each closing."""
        return self.dump_all([area])[area]

    def dump_all(self, areas: Sequence[str] | None = None) -> dict[str, bytes]:
        """Return the fast states of ``areas``, or of all; in one go it costs a tenth."""
        return self._packed(self._columns(slow=False), self.areas if areas is None else list(areas))

    def dump_profile(self, area: str) -> bytes:
        """Return what was learned of an area's sensors: to be written now and then."""
        columns = self._columns(slow=True)
        return self._packed(columns | self._series.arrays(len(self._table)), [area])[area]

    def _columns(self, *, slow: bool) -> dict[str, NDArray[np.generic]]:
        """Return the columns to store; those in which nothing happened yet go without saying."""
        chosen = [c for c in _COLUMNS if c.slow is slow]
        return {
            c.name: self._table[c.name] for c in chosen if (self._table[c.name] != c.fill).any()
        }

    def _packed(
        self, columns: dict[str, NDArray[np.generic]], areas: list[str]
    ) -> dict[str, bytes]:
        groups = [self._roll.members(area) for area in areas]
        packed = pack({"key": self._table.keys} | columns, groups)
        return dict(zip(areas, packed, strict=True))

    def restore(self, area: str, fast: bytes | None, profile: bytes | None = None) -> None:
        """Go on from an area's states; before the first ``observe``, once for each area.

        Either may be missing, and the profile older than the fast state: the sensors then start
        young, or from what was known. Raises ValueError for bytes that are no state.
        """
        for data in (fast, profile):
            if data is None:
                continue
            columns = unpack(data)
            rows = self._roll.enrol_known(area, columns.pop("key"))
            self._series.grow_to(len(self._table))
            for name, values in columns.items():
                if name in self._table.columns:
                    if self._table[name].shape[1:] == values.shape[1:]:
                        self._table[name][rows] = values
                else:
                    self._series.remember(name, rows, values)
