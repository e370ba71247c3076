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
    "ScoredBlock",
    "Scores",
    "close_of_the_broken",
    "follow",
    "forget",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

_OPENS = 0.9
"""With such a score a value outside its usual range is news."""

_COMPANY = 0.5
"""A neighbour with such a score, outside its usual range, shares the unusual."""

_ALONE_BLOCKS = 3
"""So many blocks an unusual value has to last that no neighbour shares."""

_LONGEST_WAIT = 250
"""The blocks of waiting are counted in a byte."""

_CALM_BLOCKS = 3
"""So many usual blocks in a row end it."""

_WORSE = 0.02
"""A score so much above the peak is worth a version."""

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


@dataclass(frozen=True)
class ScoredBlock:
    """A block of one measure: arrays [k] over the healthy sensors that had a value in it."""

    measure: int
    rows: Rows
    """Of the table."""
    values: Floats
    scores: Scores
    start_ms: int
    end_ms: int

    @property
    def outside(self) -> Bools:
        """Whether the value lies outside the sensor's usual range."""
        return np.asarray((self.values < self.scores.low) | (self.values > self.scores.high))


class _Episode:
    """How far the unusual has come for each sensor of a block: quiet, waiting or open.

    | state   | the block shows                          | becomes                        |
    |---------|------------------------------------------|--------------------------------|
    | quiet   | an alarm: outside, with a high score     | waiting, for one block         |
    | waiting | outside again                            | waiting, for one block more    |
    | waiting | inside                                   | quiet                          |
    | waiting | that a neighbour shares it, or the third | open: version 1                |
    | open    | a score clearly above the peak           | open: the next version         |
    | open    | inside, for the third block in a row     | closed: the last version       |

    One block may take a sensor from quiet over waiting to open.
    """

    def __init__(self, table: SensorTable, block: ScoredBlock) -> None:
        rows, m = block.rows, block.measure
        self.since_s = table["anomaly_since"][rows, m]
        self.is_open = np.asarray(self.since_s > 0)
        self.waited = table["anomaly_alone"][rows, m]
        """Blocks that it has been unusual without being an event."""
        self.calm = table["anomaly_calm"][rows, m]
        """Blocks that an open one has been usual again."""
        self.peak = table["anomaly_peak"][rows, m].astype(np.float64)

    def waits(self, outside: Bools, alarm: Bools) -> NDArray[np.uint8]:
        """Return [k] how many blocks it has been unusual with this one; 0: it is not."""
        goes_on = outside & (alarm | (self.waited > 0))
        return np.where(goes_on, np.minimum(self.waited + 1, _LONGEST_WAIT), 0)

    def opens(self, waits: NDArray[np.uint8], shared: Bools) -> Bools:
        return np.asarray(~self.is_open & (waits > 0) & (shared | (waits >= _ALONE_BLOCKS)))

    def worsens(self, score: Floats) -> Bools:
        return np.asarray(self.is_open & (score >= self.peak + _WORSE))

    def calms(self, outside: Bools) -> NDArray[np.uint8]:
        """Return [k] for how many blocks in a row an open one has been usual again."""
        return np.where(self.is_open & ~outside, self.calm + 1, 0)

    def closes(self, calm: NDArray[np.uint8]) -> Bools:
        return np.asarray(self.is_open & (calm >= _CALM_BLOCKS))


def follow(table: SensorTable, neighbours: Rows, block: ScoredBlock) -> list[AnomalyChange]:
    """Open, renew and close the anomalies of a measure after a block of it was scored.

    ``neighbours`` [n, k] are those of every row of the table.
    """
    rows, m, outside = block.rows, block.measure, block.outside
    score = np.asarray(block.scores.score, np.float64)
    episode = _Episode(table, block)
    # A score is high once, when the unusual is news; after that what is outside counts.
    unusual = outside & ((score >= _COMPANY) | (episode.waited > 0) | episode.is_open)
    shared = _accompanied(len(table), neighbours, rows, unusual)
    waits = episode.waits(outside, alarm=outside & (score >= _OPENS))
    calm = episode.calms(outside)
    opens, closes = episode.opens(waits, shared), episode.closes(calm)
    worsens, now_open = episode.worsens(score), episode.is_open | opens
    peak = np.where(worsens | (waits > 0), np.maximum(episode.peak, score), episode.peak)
    # It began with the first block that was unusual.
    blocks_before = (waits.astype(np.int64) - 1).clip(min=0)
    began_ms = block.start_ms - blocks_before * (block.end_ms - block.start_ms)
    table["anomaly_since"][rows, m] = np.where(opens, began_ms // 1000, episode.since_s)
    table["anomaly_alone"][rows, m] = np.where(now_open, 0, waits)
    table["anomaly_calm"][rows, m] = calm
    table["anomaly_peak"][rows, m] = np.where(episode.is_open | (waits > 0), peak, 0.0)
    _note_figures(table, block, now_open)
    changed = opens | worsens | closes
    table["anomaly_version"][rows[changed], m] += np.uint16(1)
    return [
        AnomalyChange(int(rows[i]), m, "closed" if closes[i] else "open", int(since_s) * 1000)
        for i, since_s in zip(
            np.flatnonzero(changed), table["anomaly_since"][rows[changed], m], strict=True
        )
    ]


def _note_figures(table: SensorTable, block: ScoredBlock, where: Bools) -> None:
    """Keep the figures of the open ones for their events."""
    for name, found in (
        ("value", block.values),
        ("expected", block.scores.expected),
        ("low", block.scores.low),
        ("high", block.scores.high),
    ):
        table[f"anomaly_{name}"][block.rows[where], block.measure] = np.asarray(found)[where]


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
    """Clear a closed anomaly, once its last version has been made."""
    for column in COLUMNS:
        table[column.name][change.row, change.measure] = column.fill
