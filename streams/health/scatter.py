"""Flat: a value that hardly moves from reading to reading any more.

The steps are freed from their dependence on the level and their logarithms averaged: the
geometric mean step tells the usual scatter, and rare jumps hardly move it. A CUSUM (Page 1954) of
likelihood ratios weighs each step: normal with the reference variance, or with a sixteenth of it.

The reference is the least of what counts as calm: the sensor's usual scatter, less twice as much
as its calm hours usually differ from it, and less what the other sensors' is less just now. Exact
repeats do not count: they are a matter of resolution, and of the test for stuck sensors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.health.evidence import EVIDENCE, MANY, is_grown_up
from streams.health.expectations import Expected
from streams.health.ordered import OrderedReadings, Series
from streams.health.sensor_table import Column, SensorTable

__all__ = ["COLUMNS", "judge_scatter"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

COLUMNS = (
    Column("flat", "f2", per_measure=True),
    Column("hush", "f4", per_measure=True),
    Column("scatter", "f4", per_measure=True, slow=True),
    Column("scatter_n", "f4", per_measure=True, slow=True),
    Column("hush_moment", "f4", per_measure=True, slow=True),
)
"""Of the logarithm of the step: ``hush`` its mean over some thirty steps, ``scatter`` its long-term
mean over ``scatter_n`` steps, ``hush_moment`` the mean square of what lies between the two."""

_LONE_FACTOR = 10.0
"""Without many others nobody can say that the city is calm: ask for ten times the evidence."""

_SUSPICION = 10.0
_MATURE_STEPS = 200
_MEMORY_STEPS = 2000.0
_HUSH_STEPS = 30.0
_CALM = 2.0
"""Standard deviations of the calm hours that are still usual."""

_RATIO = 16.0
_LOG_STEP = float(np.log(0.53))
"""E log|x| of a normal variable is log(0.53 sigma)."""


def judge_scatter(
    table: SensorTable,
    readings: OrderedReadings,
    series: Series,
    previous: Floats,
    moved: Bools,
    m: int,
    expected: Expected,
    good: Bools,
) -> None:
    """Add one window's evidence about measure ``m``.

    ``previous`` [k] precedes each value of the series; ``moved`` [k] where it was another one;
    ``good`` [s] the sensors of the series that are healthy.
    """
    rows = series.rows
    log_step = _level_free(series, readings, previous, moved, expected)
    steps = series.total(moved)
    mean = series.total(log_step) / np.maximum(steps, 1)
    now_s = float(readings.ts.max()) / 1000
    known = table["scatter_n"][rows, m] >= _MATURE_STEPS
    mature = known & is_grown_up(table, now_s)[rows]
    reference, many = _reference(table, rows, m, mean, known & good & (steps > 0))
    # Exactly, of logarithms: half log r - half (d / sigma)^2 (r - 1).
    away = log_step - (reference - _LOG_STEP)[series.of]
    ratio = 0.5 * np.log(_RATIO) - 0.5 * np.exp(2 * np.minimum(away, 2.0)) * (_RATIO - 1)
    worth = series.total(np.where(moved, np.maximum(ratio, -8.0), 0.0))
    worth = np.where((worth > 0) & (not many), worth / _LONE_FACTOR, worth)
    before = table["flat"][rows, m].astype(np.float64)
    evidence = np.where(mature, np.clip(before + worth, 0.0, 2 * EVIDENCE), 0.0)
    table["flat"][rows, m] = evidence
    unsuspected = np.maximum(before, evidence) < _SUSPICION
    _learn(table, rows, m, mean, steps, good & (steps > 0) & unsuspected)


def _reference(
    table: SensorTable, rows: Rows, m: int, mean: Floats, trusted: Bools
) -> tuple[Floats, bool]:
    """Return [s] the logarithm of the step that would still be usual, and if many others tell."""
    usual = table["scatter"][rows, m].astype(np.float64)
    calm = usual - _CALM * np.sqrt(table["hush_moment"][rows, m].astype(np.float64))
    if np.count_nonzero(trusted) < MANY:
        return calm, False
    # Where everybody is calmer than usual it is the city that is calm. And a sensor that learned
    # in a jam must not be flat when it moves like the others.
    city = min(float(np.median(mean[trusted] - usual[trusted])), 0.0)
    return np.minimum(calm, float(np.median(calm[trusted]))) + city, True


def _learn(
    table: SensorTable, rows: Rows, m: int, mean: Floats, steps: Floats, teaches: Bools
) -> None:
    n, usual = table["scatter_n"][rows, m], table["scatter"][rows, m].astype(np.float64)
    total = np.minimum(n + steps, _MEMORY_STEPS)
    gain = np.where(teaches, steps / np.maximum(total, 1), 0.0)
    usual = usual + gain * (mean - usual)
    table["scatter"][rows, m] = usual
    table["scatter_n"][rows, m] = np.where(teaches, total, n)
    hush = np.where(n > 0, table["hush"][rows, m].astype(np.float64), mean)
    hush = hush + np.where(teaches, np.minimum(steps / _HUSH_STEPS, 1.0), 0.0) * (mean - hush)
    table["hush"][rows, m] = np.where(teaches | (n > 0), hush, 0.0)
    moment = table["hush_moment"][rows, m]
    table["hush_moment"][rows, m] = moment + gain * ((hush - usual) ** 2 - moment)


def _level_free(
    series: Series,
    readings: OrderedReadings,
    previous: Floats,
    moved: Bools,
    expected: Expected,
) -> Floats:
    """Return [k] the logarithm of each step, freed from its dependence on the level; 0 if none."""
    step = np.where(moved, np.abs(series.value - previous), 1.0)
    level = np.where(moved, np.abs(series.value + previous) / 2, 1.0)
    level = np.maximum(level, 1e-9)
    if expected.noise == "relative":
        step = step / level
    elif expected.noise == "poisson":
        step = step / np.sqrt(level)
    elif expected.noise == "sampled" and expected.weight is not None:
        seen = readings.measures[expected.weight][series.at]
        step = step / level * np.sqrt(np.maximum(seen, 1.0))
    return np.log(np.where(moved, step, 1.0))
