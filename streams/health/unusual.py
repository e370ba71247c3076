"""The city is unusual: anomaly events of healthy sensors, opened and closed with hysteresis.

An unusual value that neighbours share is the city, and an event at once. One that stands against
its neighbours is rather the sensor: it has to last before it becomes an event, which gives the
judges of health the time to convict. It closes when the values are usual again, or when the
sensor turns out to be broken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from streams.health.sensor_table import Column, SensorTable

__all__ = [
    "COLUMNS",
    "AnomalyChange",
    "Detector",
    "Scores",
    "close_of_the_broken",
    "follow",
    "forget",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

_OPENS = 0.9
_COMPANY = 0.5
"""A neighbour with such a score, outside its usual range, shares the unusual."""

_ALONE_BLOCKS = 3
"""So many blocks an unusual value has to last that no neighbour shares."""

_CALM_BLOCKS = 3
_WORSE = 0.02

COLUMNS = (
    Column("anomaly_since", "u4", per_measure=True),
    Column("anomaly_version", "u2", per_measure=True),
    Column("anomaly_alone", "u1", per_measure=True),
    Column("anomaly_calm", "u1", per_measure=True),
    *(
        Column(f"anomaly_{name}", "f4", per_measure=True)
        for name in ("peak", "value", "expected", "low", "high", "last")
    ),
)
"""``anomaly_since`` [s], 0 when none is open."""


class Scores(Protocol):
    """Arrays over the series that were updated: score 0..1, and the 98 % interval."""

    @property
    def score(self) -> NDArray[Any]: ...
    @property
    def expected(self) -> NDArray[Any]: ...
    @property
    def low(self) -> NDArray[Any]: ...
    @property
    def high(self) -> NDArray[Any]: ...


class Detector(Protocol):
    """What ``streams.anomaly.AnomalyDetector`` is to this package."""

    def grow(self, series: int) -> None: ...
    def update(self, rows: Rows, at_ms: NDArray[np.int64], values: Floats) -> Scores: ...
    def arrays(self) -> dict[str, NDArray[Any]]: ...
    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self: ...


@dataclass(frozen=True)
class AnomalyChange:
    """A new version of the anomaly of a sensor's measure; its figures are in the table."""

    row: int
    measure: int
    state: Literal["open", "closed"]
    since: int
    """[ms]"""


def follow(
    table: SensorTable,
    neighbours: Rows,
    m: int,
    rows: Rows,
    values: Floats,
    scores: Scores,
    block_start: int,
    window_end: int,
) -> list[AnomalyChange]:
    """Open, renew and close the anomalies of measure ``m`` after a block of it was scored.

    ``rows`` [k] are the healthy sensors with a value, ``values`` and ``scores`` theirs;
    ``neighbours`` [n, k] those of every row of the table.
    """
    score = np.asarray(scores.score, np.float64)
    outside = (values < scores.low) | (values > scores.high)
    since = table["anomaly_since"][rows, m]
    is_open = since > 0
    alone = table["anomaly_alone"][rows, m]
    alarm = outside & (score >= _OPENS)
    # A score is high once, when the unusual is news; after that what is outside counts.
    unusual = outside & ((score >= _COMPANY) | (alone > 0) | is_open)
    accompanied = _accompanied(len(table), neighbours, rows, unusual)
    alone = np.where(outside & (alarm | (alone > 0)), np.minimum(alone + 1, 250), 0)
    opens = ~is_open & (alone > 0) & (accompanied | (alone >= _ALONE_BLOCKS))
    calm = np.where(is_open & ~outside, table["anomaly_calm"][rows, m] + 1, 0)
    closes = is_open & (calm >= _CALM_BLOCKS)
    before = table["anomaly_peak"][rows, m].astype(np.float64)
    worse = is_open & (score >= before + _WORSE)
    kept = np.where(worse | (alone > 0), np.maximum(before, score), before)
    started = block_start - (alone.astype(np.int64) - 1).clip(min=0) * (window_end - block_start)
    table["anomaly_since"][rows, m] = np.where(opens, started // 1000, since)
    table["anomaly_alone"][rows, m] = np.where(opens | is_open, 0, alone)
    table["anomaly_calm"][rows, m] = calm
    table["anomaly_peak"][rows, m] = np.where(is_open | (alone > 0), kept, 0.0)
    now = opens | is_open
    for name, found in (
        ("value", values),
        ("expected", scores.expected),
        ("low", scores.low),
        ("high", scores.high),
    ):
        column = table[f"anomaly_{name}"]
        column[rows[now], m] = np.asarray(found)[now]
    changed = opens | worse | closes
    table["anomaly_version"][rows[changed], m] += np.uint16(1)
    return [
        AnomalyChange(int(rows[i]), m, "closed" if closes[i] else "open", int(since_s) * 1000)
        for i, since_s in zip(
            np.flatnonzero(changed), table["anomaly_since"][rows[changed], m], strict=True
        )
    ]


def _accompanied(n: int, neighbours: Rows, rows: Rows, unusual: Bools) -> Bools:
    """Return [k] whether a neighbour is unusual too; also where no neighbour could be."""
    marks, judged = np.zeros(n + 1, np.bool_), np.zeros(n + 1, np.bool_)
    marks[rows], judged[rows] = unusual, True
    around = neighbours[rows]
    return np.asarray(marks[around].any(axis=1) | ~judged[around].any(axis=1))


def close_of_the_broken(table: SensorTable, rows: Rows) -> list[AnomalyChange]:
    """Close what is open of sensors that were found broken; it was theirs, not the city's."""
    found = np.argwhere(table["anomaly_since"][rows] > 0)
    closed = []
    for i, m in found.tolist():
        row = int(rows[i])
        since = int(table["anomaly_since"][row, m]) * 1000
        table["anomaly_version"][row, m] += np.uint16(1)
        closed.append(AnomalyChange(row, m, "closed", since))
    table["anomaly_alone"][rows] = 0
    peak = table["anomaly_peak"]
    peak[rows] = np.where(table["anomaly_since"][rows] > 0, peak[rows], 0.0)
    return closed


def forget(table: SensorTable, change: AnomalyChange) -> None:
    """Clear a closed anomaly, once its last version has been told."""
    for column in COLUMNS:
        table[column.name][change.row, change.measure] = column.fill
