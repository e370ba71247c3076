"""The seven ways in which a reading can be surprising, and how they add up.

Deviations [k, 7] are absolute, in units of a normal spread, in this order:

0. history: from the mean of all history
1. residual: from what was expected
2. usual: from what is usual at this hour
3. sustained: of the last five readings together from the usual
4. recent: of the last three readings together from the mean of all history
5. unrest: mean error of the last readings
6. cumulated: errors of one sign summed up, less what chance adds (Page 1954)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.anomaly import tails
from streams.anomaly.expectation import Expectation, Readings, pace
from streams.anomaly.state import Arrays

__all__ = ["OUTSIDE_SHARE", "deviations", "judge"]

Floats = NDArray[np.float64]

_HOUR_MS = 3_600_000
_SUSTAINED_READINGS = 5.0
_RECENT_READINGS = 3.0
_UNREST_READINGS = 5.0
_TO_DEVIATION = 1.25
"""From a mean absolute deviation to a standard deviation, of a normal distribution."""
_SHORT_CUT = 6.0
"""A single reading counts at most so many spreads in a mean of several."""
_FARTHEST = 60.0
"""Deviations are cut here: a series that never moved has no scale for its first move."""
_CUMULATED_LIMIT = 4.0
"""A single reading adds at most so many spreads: three are needed to reach the ordinary top."""
_CUMULATED_SLACK = 1.0
"""Standard deviations taken off at each reading: half the shift that is to be seen soonest."""
_CUMULATED_MOST = 20.0
_CUMULATED_READINGS = 5.0
"""In a gap the sum fades as it would have with quiet readings."""
_WEIGHTS = np.array([1.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.5])
"""Residual, unrest and cumulated are views of the same errors: half a vote each."""
_NORMAL = np.array([2.6, 3.2, 3.2, 1.7, 2.2, 2.2, 2.5])
"""About where a normal series has the 99 % quantile of each deviation: where the tails start."""
_MEASURED_FROM = 30
"""Readings before deviations are learnt: earlier there is no spread to measure them by."""
_SILENT_READINGS, _FULL_READINGS = 60, 160
_SILENT_MS, _FULL_MS = 12 * _HOUR_MS, 24 * _HOUR_MS
"""Nothing is said in the first half day, and little before a whole day has been seen."""
_SURPRISED = 3.0
"""From here on readings in succession are one state, not news each."""
_TEACHES = 6.0
"""Readings of one surprising state that teach in full; the n-th after them 6 / n."""
_RESIDUAL = 1
OUTSIDE_SHARE = 0.02
"""Share of readings outside the published interval."""
_NORMAL_REACH = 2.9
_MEMORY_MS = 28 * 24 * _HOUR_MS


def deviations(state: Arrays, readings: Readings, expected: Expectation) -> Floats:
    """Return the seven deviations [k, 7] and keep the running means behind them."""
    rows, x, seen, passed = readings.rows, readings.value, readings.seen, readings.passed
    spread = np.maximum(_TO_DEVIATION * expected.spread, expected.floor)
    error = (x - expected.value) / expected.scale
    away = (x - expected.usual) / expected.scale

    sustained = state["sustained"][rows].astype(np.float64)
    short = np.clip(away, -_SHORT_CUT, _SHORT_CUT)
    sustained += pace(passed, _SUSTAINED_READINGS, seen) * (short - sustained)
    recent = np.where(seen == 0, x, state["recent"][rows])
    recent += pace(passed, _RECENT_READINGS, seen) * (x - recent)
    unrest = state["unrest"][rows].astype(np.float64)
    unrest += pace(passed, _UNREST_READINGS, seen) * (np.minimum(np.abs(error), 8.0) - unrest)
    state["sustained"][rows], state["recent"][rows] = sustained, recent
    state["unrest"][rows] = unrest

    columns = (
        (x - expected.mean) / spread,
        error,
        away,
        sustained,
        (recent - expected.mean) / spread,
        unrest,
        _cumulated(state, readings, error),
    )
    return np.minimum(np.abs(np.column_stack(columns)), _FARTHEST)


def _cumulated(state: Arrays, readings: Readings, error: Floats) -> Floats:
    """Return the larger of the two one-sided sums, halved to the scale of the other deviations."""
    rows = readings.rows
    fade = np.exp(-(readings.passed - 1) / _CUMULATED_READINGS)
    step = np.clip(error, -_CUMULATED_LIMIT, _CUMULATED_LIMIT) / _TO_DEVIATION
    rising = state["rising"][rows] * fade + step - _CUMULATED_SLACK
    falling = state["falling"][rows] * fade - step - _CUMULATED_SLACK
    state["rising"][rows] = np.clip(rising, 0, _CUMULATED_MOST)
    state["falling"][rows] = np.clip(falling, 0, _CUMULATED_MOST)
    return np.maximum(state["rising"][rows], state["falling"][rows]) / 2.0


def judge(state: Arrays, readings: Readings, deviation: Floats) -> tuple[Floats, Floats]:
    """Return the surprise [k] and the 98 % quantile of the residual [k, scales]; learn both."""
    rows, seen = readings.rows, readings.seen
    measured = (seen >= _MEASURED_FROM)[:, None]
    untouched = (seen <= _MEASURED_FROM)[:, None]
    start = np.where(untouched, _NORMAL, state["tail_start"][rows])
    mean = state["tail_mean"][rows].astype(np.float64)
    count = state["tail_count"][rows].astype(np.float64)
    rarity = tails.rarity(deviation, start, mean, count)
    # Not rarity @ weights: the order of its sums depends on how many series come together.
    surprise = (rarity * _WEIGHTS).sum(axis=1) * _maturity(readings)

    # The threshold moves on as if there were no more readings than the memory holds.
    effective = np.minimum(seen, _MEMORY_MS / np.maximum(readings.interval_ms, 1.0))[:, None]
    learnt = tails.learn(
        deviation,
        start,
        mean,
        count,
        effective=effective,
        weight=_weight(state, rows, surprise)[:, None],
    )
    for name, new in zip(("tail_start", "tail_mean", "tail_count"), learnt, strict=True):
        state[name][rows] = np.where(measured, new, state[name][rows])
    residual = deviation[:, [_RESIDUAL]]
    reach = np.where(untouched, _NORMAL_REACH, state["reach"][rows][:, None])
    further = tails.moved_quantile(residual, reach, OUTSIDE_SHARE, effective)
    state["reach"][rows] = np.where(measured, further, reach)[:, 0]
    return surprise, reach[:, 0]


def _weight(state: Arrays, rows: NDArray[np.intp], surprise: Floats) -> Floats:
    """Return what each reading teaches of rarity, and count how long its state has lasted.

    Peaks over a threshold are taken to be independent (Leadbetter 1983 on declustering): a
    failure of a hundred readings is one peak, and must not make the next one ordinary.
    """
    run = state["lasting"][rows].astype(np.float64)
    run = np.where(surprise > _SURPRISED, run + 1, np.maximum(run - 1, 0))
    state["lasting"][rows] = run
    return np.asarray(_TEACHES / np.maximum(run, _TEACHES))


def _maturity(readings: Readings) -> Floats:
    """Return 0 for a series that has seen too little to be surprised, up to 1."""
    age = readings.at_ms - readings.first_ms
    enough = (readings.seen - _SILENT_READINGS) / (_FULL_READINGS - _SILENT_READINGS)
    old = (age - _SILENT_MS) / (_FULL_MS - _SILENT_MS)
    return np.clip(np.minimum(enough, old), 0.0, 1.0)
