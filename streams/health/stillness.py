"""Stuck: a value that stands still while it should vary.

A sequential likelihood ratio test with a barrier at zero (CUSUM, Page 1954). A broken sensor
repeats its value for certain, a healthy one with probability p, so each repeat is worth -log p.
p is the larger of what this sensor's own past says and what the other sensors of the partition do
in this very window: at night they all stand still, and then a repeat is worth nothing. Repeats of
trivial values (no traffic, no rain) are worth nothing ever. And the run must outlast what the
measure may, and what this sensor did before.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.health.evidence import EVIDENCE, MANY, is_grown_up
from streams.health.expectations import Expected
from streams.health.ordered import OrderedReadings, Series
from streams.health.scatter import judge_scatter
from streams.health.sensor_table import Column, SensorTable

__all__ = ["COLUMNS", "judge_stillness", "stuck_enough"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_YOUNG_FACTOR = 3.0
"""A sensor that has not been known for a day may be one whose nights are quiet."""

_SUSPICION = 10.0
"""With more evidence than this nothing is learned: a broken sensor must not teach its ways."""

_LEAST_P = 0.05
_PRIOR_WEIGHT = 20.0
_MEMORY_READINGS = 4000.0

COLUMNS = (
    Column("value", "f4", np.nan, per_measure=True),
    Column("changed_at", "u4", per_measure=True),
    Column("stuck", "f2", per_measure=True),
    Column("repeats", "f4", per_measure=True, slow=True),
    Column("changes", "f4", per_measure=True, slow=True),
    Column("longest_s", "f4", per_measure=True, slow=True),
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
        moved = known & ~same
        judge_scatter(table, readings, series, previous, moved, m, expected, good)
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
    informative = known & ~_trivial(series, readings, expected)
    repeats, asked = series.total(same & informative), series.total(informative)
    p = _chance_of_repeat(table, rows, m, expected, repeats, asked, good)
    last_change = np.maximum.reduceat(np.where(same, -1, place), series.first)
    changed = last_change >= 0
    informative_repeats = np.concatenate(([0], np.cumsum(same & informative)))
    end = np.append(series.first[1:], len(same))
    run_from = np.where(changed, last_change, series.first)
    fresh = informative_repeats[end] - informative_repeats[run_from]
    before = table["stuck"][rows, m].astype(np.float64)
    evidence = np.where(changed, 0.0, before) - np.log(p) * fresh
    table["stuck"][rows, m] = np.minimum(evidence, 2 * _YOUNG_FACTOR * EVIDENCE)

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


def stuck_enough(table: SensorTable, m: int, expected: Expected, now_s: float) -> Bools:
    """Return [n] whether the present run of measure ``m`` convicts.

    By its evidence, and by being longer than the measure and this sensor are wont to.
    """
    run_s = now_s - table["changed_at"][:, m].astype(np.float64)
    usual_s = 1.5 * table["longest_s"][:, m].astype(np.float64)
    needed = EVIDENCE * np.where(is_grown_up(table, now_s), 1.0, _YOUNG_FACTOR)
    enough = table["stuck"][:, m] >= needed
    return np.asarray(enough & (run_s >= np.maximum(usual_s, expected.still_s)))
