"""Why a sensor's health changed, in one sentence for the people who send somebody to look."""

from __future__ import annotations

import numpy as np

from civicstream.clock import rfc3339
from civicstream.kinds import Kind
from streams.health.contradictions import what_contradicts
from streams.health.expectations import Expected
from streams.health.punctuality import silence_limit_ms
from streams.health.sensor_table import SensorTable
from streams.health.verdict import HEALTH, Change

__all__ = ["reason"]


def reason(table: SensorTable, kind: Kind, measures: tuple[Expected, ...], change: Change) -> str:
    """Return the sentence, with the measure, the value and what was expected."""
    state = HEALTH[change.health]
    row, since = change.row, rfc3339(change.since)
    if state == "ok":
        return f"no evidence any more that the sensor is {HEALTH[change.before]}"
    if state == "silent":
        return _silent(table, row, since)
    if state == "skewed":
        offset = float(table["offset_s"][row])
        behind = "behind" if offset > 0 else "ahead of"
        return (
            f"its time stamps are {abs(offset):.0f} s {behind} those of the other sensors; "
            "expected less than 10 s"
        )
    if state == "impossible":
        contradiction = what_contradicts(kind.name, int(table["contradiction"][row]))
        return f"its readings contradict themselves: {contradiction}"
    return _of_measure(table, kind, measures[change.measure], change, since)


def _silent(table: SensorTable, row: int, since: str) -> str:
    limit_s = float(silence_limit_ms(table)[row]) / 1000
    usual_s = float(table["interval_s"][row])
    if table["late_at"][row] > table["seen_at"][row]:
        return (
            f"all its readings since {since} came after their window was closed; "
            f"expected one in time every {usual_s:.0f} s"
        )
    return (
        f"no reading since {since}; expected one every {usual_s:.0f} s, "
        f"and none for {limit_s:.0f} s is too long"
    )


def _of_measure(
    table: SensorTable, kind: Kind, expected: Expected, change: Change, since: str
) -> str:
    row, m = change.row, change.measure
    declared = {measure.name: measure.unit for measure in kind.measures}.get(expected.name, "m")
    unit = "" if expected.per else f" {declared}"
    value = float(table["value"][row, m])
    state = HEALTH[change.health]
    if state == "stuck":
        repeats, changes = float(table["repeats"][row, m]), float(table["changes"][row, m])
        share = repeats / (repeats + changes) if repeats + changes > 0 else expected.repeats
        return (
            f"{expected.name} has been exactly {value:g} {declared} since {since}; "
            f"expected a repeat in {share:.0%} of the readings"
        )
    if change.dead:
        return (
            f"{expected.name} has stood at {value:g} {declared} since before {since}; "
            "expected it to move as its neighbours' did"
        )
    if state == "flat":
        return (
            f"{expected.name} at {value:g} {declared} moves from reading to reading by less "
            "than a quarter of its usual step; expected its usual scatter"
        )
    off = float(table["residual"][row, m])
    usual = float(np.sqrt(table["deviation_moment"][row, m]))
    usual = max(usual, expected.own_floor or expected.neighbour_floor or 0.0)
    per_second = " a second" if expected.per else ""
    if expected.derived:
        return (
            f"count, speed and occupancy imply vehicles {np.expm1(off):+.0%} longer than usual; "
            f"expected within {np.expm1(3.5 * usual):.0%}"
        )
    return (
        f"{expected.name} deviates from its neighbours by {off:+.3g}{unit}{per_second}; "
        f"expected within {3.5 * usual:.3g}{unit}{per_second}"
    )
