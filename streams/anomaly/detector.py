"""Online anomaly scores of many series at once, each judged by its own past alone.

A reading is held against what was to be expected (``expectation``, ``usual``); its deviations
are turned into their rarity in this series (``surprise``, ``tails``), and a surprise is reported
once, lowered for each time the series has been so before (``habituation``).
docs/traffic.md has the formulas, their sources and what was tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.expectation import expect, learn, take_in
from streams.anomaly.habituation import habituated
from streams.anomaly.state import Arrays, checked, empty, grown
from streams.anomaly.surprise import deviations, judge

__all__ = ["AnomalyDetector", "Scores"]

Floats = NDArray[np.float64]

_TENFOLD = 17.0
"""The surprise that takes a score nine tenths of its way to 1: 0.9 comes about once in 7,000
readings in which nothing happens, 0.99 hardly ever; docs/traffic.md has the measured table."""

_HALF_LIFE_MS = 12 * 3_600_000
"""Of the last surprise reported."""
_CLEARLY_MORE = 1.5
"""Times the last one, faded, that a surprise is news."""


@dataclass(frozen=True)
class Scores:
    """One entry per reading of the update, in its order; NaN where the value was NaN."""

    score: Floats
    """0..1; 0 while nothing is new, from 0.9 an alarm. A lasting state is reported at its start."""
    expected: Floats
    """What the value should have been, in its unit."""
    low: Floats
    high: Floats
    """98 % of the readings lie between these."""


class AnomalyDetector:
    """The state of n series, under 1 KB each, and how a reading is scored and learnt."""

    def __init__(self, series: int = 0) -> None:
        self._state = empty(series)

    def __len__(self) -> int:
        return len(self._state["readings"])

    def grow(self, series: int) -> None:
        """Make room for ``series`` series in all, the new ones young; ValueError to shrink."""
        self._state = grown(self._state, series)

    def arrays(self) -> Arrays:
        """Return the live state by name, leading axis = series (``state.FIELDS``).

        Copy it to keep it: the next update changes it. The ``slow`` fields change little from
        reading to reading and may be stored seldom.
        """
        return dict(self._state)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> AnomalyDetector:
        """Return the detector that had these ``arrays()``; ValueError when they do not fit."""
        detector = cls()
        detector._state = checked(dict(arrays))
        return detector

    def update(self, rows: NDArray[np.intp], at_ms: NDArray[np.int64], values: Floats) -> Scores:
        """Score one reading of each of some series by their past, then learn it.

        ``rows`` [k] are distinct; ``at_ms`` [k] is epoch ms in the clock people live by (UTC
        plus the offset), for rush hours follow it; a time before the series' last one counts
        as no time passed. A value that is not finite gets NaN and changes nothing. IndexError
        for rows beyond the size.
        """
        scores = Scores(*(np.full(len(rows), np.nan) for _ in range(4)))
        measured = np.flatnonzero(np.isfinite(values))
        if len(measured):
            found = self._update(rows[measured], at_ms[measured], values[measured])
            for name, values_found in vars(found).items():
                getattr(scores, name)[measured] = values_found
        return scores

    def _update(self, rows: NDArray[np.intp], at_ms: NDArray[np.int64], values: Floats) -> Scores:
        state = self._state
        readings = take_in(state, rows, at_ms, values)
        expected = expect(state, readings)
        surprise, reach = judge(state, readings, deviations(state, readings, expected))
        reported = state["told"][rows].astype(np.float64)
        news, state["told"][rows] = _news_of(surprise, reported, readings.since_ms)
        news = habituated(state, rows, readings.since_ms, news)
        learn(state, readings, expected)
        half = reach * expected.scale
        centre = expected.value
        return Scores(1 - 10 ** (-news / _TENFOLD), centre, centre - half, centre + half)


def _news_of(surprise: Floats, reported: Floats, since_ms: Floats) -> tuple[Floats, Floats]:
    """Return what is news of ``surprise`` (0 when it is none) and the new last one reported.

    A surprise is reported when it is well above the last one reported, which fades with the
    hours. Without this an incident of two hours would be a hundred alarms.

    ``reported`` is the last one reported, ``since_ms`` the time since the reading before. A state
    that stays as surprising as it was does not fade, so it is not reported again.
    """
    fading = reported * np.exp2(-since_ms / _HALF_LIFE_MS)
    news = surprise > _CLEARLY_MORE * fading
    lasting = np.maximum(fading, np.minimum(surprise, reported))
    return np.where(news, surprise, 0.0), np.where(news, surprise, lasting)
