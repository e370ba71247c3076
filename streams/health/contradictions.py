"""Impossible: readings that contradict physics, though each value is in its range.

Evidence gathers one point per contradictory reading and loses a fifth per consistent one, so a
sensor is convicted when more than a sixth of its readings are impossible, not for one glitch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from civicstream.kinds import KINDS
from streams.health.expectations import EFFECTIVE_LENGTH, Expected, expected_measures
from streams.health.ordered import OrderedReadings
from streams.health.sensor_table import Column, SensorTable

__all__ = [
    "COLUMNS",
    "CONVICTS",
    "judge_contradictions",
    "log_effective_length",
    "what_contradicts",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CONVICTS = 5.0
_MOST = 20.0
_PARDON = 0.2

COLUMNS = (
    Column("impossible", "f4"),
    Column("contradiction", "u1"),
)
"""``contradiction`` is the number of the newest one in ``what_contradicts``."""

# Of a vehicle plus detection zone: a bicycle and a road train with some room for error.
_SHORTEST_M, _LONGEST_M = 1.0, 40.0

# The busiest lanes carry 2,600 vehicles an hour for minutes (HCM 2010: capacity 2,400).
_LANE_VEH_H = 2_600.0
_FASTEST_KMH = 250.0

_OF_TRAFFIC = (
    "occupancy, count and speed together mean vehicles of an impossible length",
    "a speed without a vehicle",
    "more vehicles than any road carries",
    "a mean speed no traffic has",
)


def what_contradicts(kind: str, number: int) -> str:
    """Return the contradiction in words."""
    if kind == "traffic":
        return _OF_TRAFFIC[number]
    declared = [c.broken for c in KINDS[kind].contradictions]
    steps = [(e.name, e.step.broken) for e in expected_measures(kind) if e.step is not None]
    return (*declared, *(said or f"{name} changes too fast" for name, said in steps))[number]


def judge_contradictions(
    table: SensorTable,
    readings: OrderedReadings,
    kind: str,
    lanes: Floats,
    measures: tuple[Expected, ...],
) -> None:
    """Add one window's evidence; ``lanes`` [n] as far as known, NaN elsewhere.

    Reads ``value`` and ``seen_at`` of the readings before: to be called before those are renewed.
    """
    if not len(readings):
        return
    found = _contradictions(table, readings, kind, lanes, measures)
    if not found:
        return
    rows, first = readings.rows, readings.first
    wrong = np.zeros(len(readings), np.bool_)
    for number, mask in enumerate(found):
        wrong |= mask
        hit = np.add.reduceat(mask, first, dtype=np.intp) > 0
        table["contradiction"][rows[hit]] = number
    bad = np.add.reduceat(wrong, first, dtype=np.float64)
    before = table["impossible"][rows].astype(np.float64)
    points = before + bad - _PARDON * (readings.counts - bad)
    table["impossible"][rows] = np.clip(points, 0.0, _MOST)


def _contradictions(
    table: SensorTable,
    readings: OrderedReadings,
    kind: str,
    lanes: Floats,
    measures: tuple[Expected, ...],
) -> list[Bools]:
    """Return a mask over the readings for each contradiction of the kind; NaN contradicts none."""
    m = readings.measures
    if kind == "traffic":
        return _traffic(m, lanes[readings.row])
    declared = [m[c.part] > c.factor * m[c.whole] + c.slack for c in KINDS[kind].contradictions]
    steps = [_too_fast(table, readings, i, e) for i, e in enumerate(measures) if e.step is not None]
    return declared + steps


def _traffic(m: dict[str, Floats], lanes: Floats) -> list[Bools]:
    count, speed, hours = m["intensity"], m["averageVehicleSpeed"], m["period"] / 3600
    # An unknown detector may cover one lane or six.
    fewest, most = np.where(np.isnan(lanes), 1.0, lanes), np.where(np.isnan(lanes), 6.0, lanes)
    several = count >= 3
    per_lane = m[EFFECTIVE_LENGTH]
    length = several & (
        (per_lane > np.log(_LONGEST_M / fewest))
        | ((per_lane < np.log(_SHORTEST_M / most)) & (speed > 10))
    )
    expected = _LANE_VEH_H * hours * most
    return [
        length,
        (count == 0) & (speed > 0),
        count > expected + 4 * np.sqrt(expected) + 3,
        speed > _FASTEST_KMH,
    ]


def log_effective_length(m: Mapping[str, Floats]) -> Floats:
    """Return [k] the logarithm of the length [m] of vehicle and detection zone.

    As count, speed and occupancy imply it, per lane that the detector covers; NaN where one of
    the three is missing or nothing passed. Occupancy = count x length / (speed x period) (Athol
    1965); a detector that miscounts or mismeasures the speed shows in any state of the traffic.
    """
    count = np.where(m["intensity"] > 0, m["intensity"], np.nan)
    metres = m["occupancy"] * m["period"] * m["averageVehicleSpeed"] / 3.6 / count
    length: Floats = np.log(np.where(metres > 0, metres, np.nan))
    return length


def _too_fast(table: SensorTable, readings: OrderedReadings, m: int, expected: Expected) -> Bools:
    """Return [k] whether a value is further from the sensor's last one than air can change."""
    assert expected.step is not None  # noqa: S101 only called for those that have one
    series = readings.series(expected.name)
    minutes = readings.ts[series.at] / 60_000
    since = minutes - series.previous(table["seen_at"][series.rows] / 60_000)
    # With the resolution of the stored value, which single precision rounded.
    step = np.abs(series.value - series.previous(table["value"][series.rows, m].astype(np.float64)))
    too_fast = np.zeros(len(readings), np.bool_)
    too_fast[series.at] = step > expected.step.at_once + expected.step.per_minute * since
    return too_fast
