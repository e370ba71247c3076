"""Stuck and flat: a value that stands still, or hardly moves, while it should vary.

Both are sequential likelihood ratio tests with a reflecting barrier at zero (CUSUM, Page 1954).

*Stuck.* A broken sensor repeats its value for certain, a healthy one with probability p, so each
repeat is worth -log p. p is the larger of what this sensor's own past says and what the other
sensors of the partition do in this very window: at night they all stand still, and then a repeat
is worth nothing. Repeats of trivial values (no traffic, no rain) are worth nothing ever. And the
run must outlast what the measure may, and what this sensor did before.

*Flat.* The step from reading to reading, freed from its dependence on the level, is compared
with this sensor's usual step: normal with the usual variance or with a sixteenth of it. Exact
repeats do not count here: they are a matter of resolution, and of the first test.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.health.expectations import Expected
from streams.health.ordered import OrderedReadings, Series
from streams.health.sensor_table import Column, SensorTable

__all__ = ["COLUMNS", "EVIDENCE", "LONE_FACTOR", "MANY", "judge_stillness", "stuck_long_enough"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

EVIDENCE = 40.0
"""Log-likelihood ratio that convicts: a healthy sensor reaches it by chance once in e^40 readings,
so what false alarms there are come from the model being wrong, and those the other rules stop."""

MANY = 5
"""From so many sensors on, the others' behaviour in the same window can be trusted."""

LONE_FACTOR = 10.0
"""Without so many others nobody can say that the city is quiet: ask for ten times the evidence."""

_SUSPICION = 10.0
"""With more evidence than this nothing is learned: a broken sensor must not teach its ways."""

_LEAST_P = 0.05
_PRIOR_WEIGHT = 20.0
_MEMORY_READINGS = 4000.0
_MATURE_STEPS = 200
_SCATTER_MEMORY = 2000.0

_FLAT_RATIO = 16.0
_LOG_STEP = np.log(0.53)
"""E log|x| of a normal variable is log(0.53 sigma): the geometric mean step tells sigma, and
rare jumps hardly move it."""

COLUMNS = (
    Column("value", "f4", np.nan, per_measure=True),
    Column("changed_at", "u4", per_measure=True),
    Column("stuck", "f2", per_measure=True),
    Column("flat", "f2", per_measure=True),
    Column("repeats", "f4", per_measure=True, slow=True),
    Column("changes", "f4", per_measure=True, slow=True),
    Column("longest_s", "f4", per_measure=True, slow=True),
    Column("scatter", "f4", per_measure=True, slow=True),
    Column("scatter_n", "f4", per_measure=True, slow=True),
)
"""``changed_at`` [s] is when the present value was first seen."""


def judge_stillness(
    table: SensorTable, readings: OrderedReadings, m: int, expected: Expected, ok: Bools
) -> None:
    """Add one window's evidence about measure ``m``; ``ok`` [n] are the healthy sensors."""
    series = readings.series(expected.name)
    if not len(series.value):
        return
    # What is compared with the stored value must have been rounded as that was.
    value = series.value.astype(np.float32).astype(np.float64)
    series = Series(series.at, value, series.rows, series.first)
    previous = series.previous(table["value"][series.rows, m].astype(np.float64))
    known = ~np.isnan(previous)
    same = known & (value == previous)
    good = ok[series.rows]
    _judge_repeats(table, readings, series, same, known, m, expected, good)
    if expected.noise is not None:
        _judge_steps(table, readings, series, previous, known & ~same, m, expected, good)
    last = np.append(series.first[1:], len(value)) - 1
    table["value"][series.rows, m] = value[last]


def _judge_repeats(
    table: SensorTable,
    readings: OrderedReadings,
    series: Series,
    same: Bools,
    known: Bools,
    m: int,
    expected: Expected,
    good: Bools,
) -> None:
    rows, place = series.rows, np.arange(len(same))
    telling = known & ~_trivial(series, readings, expected)
    repeats, asked = series.total(same & telling), series.total(telling)
    p = _chance_of_repeat(table, rows, m, expected, repeats, asked, good)
    last_change = np.maximum.reduceat(np.where(same, -1, place), series.first)
    changed = last_change >= 0
    telling_repeats = np.concatenate(([0], np.cumsum(same & telling)))
    end = np.append(series.first[1:], len(same))
    run_from = np.where(changed, last_change, series.first)
    fresh = telling_repeats[end] - telling_repeats[run_from]
    before = table["stuck"][rows, m].astype(np.float64)
    evidence = np.where(changed, 0.0, before) - np.log(p) * fresh
    table["stuck"][rows, m] = np.minimum(evidence, 2 * LONE_FACTOR * EVIDENCE)

    started = table["changed_at"][rows, m].astype(np.float64)
    when = readings.ts[series.at] / 1000
    first_change = np.minimum.reduceat(np.where(same, len(same), place), series.first)
    lasted = when[np.minimum(first_change, len(same) - 1)] - started
    longest = table["longest_s"][rows, m]
    learned = changed & good & (started > 0) & (before > 0)
    table["longest_s"][rows, m] = np.where(learned, np.maximum(longest, lasted), longest)
    now = when[np.maximum(last_change, 0)]
    table["changed_at"][rows, m] = np.where(changed, now, started).astype(np.uint32)

    teaches = good & (evidence < _SUSPICION) & (before < _SUSPICION)
    _learn_share(table, rows, m, np.where(teaches, repeats, 0.0), np.where(teaches, asked, 0.0))


def _trivial(series: Series, readings: OrderedReadings, expected: Expected) -> Bools:
    trivial = np.zeros(len(series.value), np.bool_)
    for value in expected.trivial:
        trivial |= series.value == value
    if expected.trivial_at is not None:
        trivial |= series.value == readings.measures[expected.trivial_at][series.at]
    return trivial


def _chance_of_repeat(
    table: SensorTable,
    rows: NDArray[np.intp],
    m: int,
    expected: Expected,
    repeats: Floats,
    asked: Floats,
    good: Bools,
) -> Floats:
    """Return [s] how likely a healthy sensor repeats its value just now."""
    # Whole numbers, so that the sums do not depend on the order of the sensors.
    others = float(asked[good].sum()) - np.where(good, asked, 0.0)
    others_repeat = float(repeats[good].sum()) - np.where(good, repeats, 0.0)
    # All of many repeat: then it is certain, and not just probable, that repeats tell nothing.
    now = np.where(others >= MANY, others_repeat / np.maximum(others, 1), expected.repeats)
    own_repeats, own_changes = table["repeats"][rows, m], table["changes"][rows, m]
    own = (own_repeats + expected.repeats * _PRIOR_WEIGHT) / (
        own_repeats + own_changes + _PRIOR_WEIGHT
    )
    return np.asarray(np.clip(np.maximum(own, now), _LEAST_P, 1.0), np.float64)


def _learn_share(
    table: SensorTable, rows: NDArray[np.intp], m: int, repeats: Floats, asked: Floats
) -> None:
    same, other = table["repeats"][rows, m] + repeats, table["changes"][rows, m] + asked - repeats
    keep = np.where(same + other > _MEMORY_READINGS, 0.5, 1.0)
    table["repeats"][rows, m], table["changes"][rows, m] = same * keep, other * keep


def _judge_steps(
    table: SensorTable,
    readings: OrderedReadings,
    series: Series,
    previous: Floats,
    moved: Bools,
    m: int,
    expected: Expected,
    good: Bools,
) -> None:
    rows = series.rows
    log_step = _level_free(series, readings, previous, moved, expected)
    steps = series.total(moved)
    usual, n = table["scatter"][rows, m].astype(np.float64), table["scatter_n"][rows, m]
    mean = series.total(log_step) / np.maximum(steps, 1)
    mature = n >= _MATURE_STEPS
    trusted = mature & good & (steps > 0)
    peers = mean[trusted] - usual[trusted]
    calm, reference = 0.0, usual
    if len(peers) >= MANY:
        # Where everybody is calmer than usual it is the city that is calm. And a sensor that
        # learned in a jam must not be flat when it moves like the others.
        calm = min(float(np.median(peers)), 0.0)
        reference = np.minimum(usual, float(np.median(usual[trusted])))
    away = log_step - (reference + calm - _LOG_STEP)[series.of]
    q = np.exp(2 * np.minimum(away, 2.0))
    ratio = 0.5 * np.log(_FLAT_RATIO) - 0.5 * q * (_FLAT_RATIO - 1)
    worth = series.total(np.where(moved, np.maximum(ratio, -8.0), 0.0))
    if len(peers) < MANY:
        worth = np.where(worth > 0, worth / LONE_FACTOR, worth)
    before = table["flat"][rows, m].astype(np.float64)
    evidence = np.clip(before + worth, 0.0, 2 * EVIDENCE)
    table["flat"][rows, m] = np.where(mature, evidence, 0.0)
    teaches = good & (steps > 0) & (np.maximum(before, evidence) < _SUSPICION) | ~mature & good
    total = np.minimum(n + steps, _SCATTER_MEMORY)
    gain = np.where(teaches, steps / np.maximum(total, 1), 0.0)
    table["scatter"][rows, m] = usual + gain * (mean - usual)
    table["scatter_n"][rows, m] = np.where(teaches, total, n)


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


def stuck_long_enough(table: SensorTable, m: int, expected: Expected, now_s: float) -> Bools:
    """Return [n] whether the present run is longer than the measure and this sensor are wont to."""
    run_s = now_s - table["changed_at"][:, m].astype(np.float64)
    usual_s: Floats = 1.5 * table["longest_s"][:, m].astype(np.float64)
    return run_s >= np.maximum(usual_s, expected.still_s)
