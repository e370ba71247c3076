"""From evidence to a state of health, with hysteresis.

A state is entered when the evidence convicts and left when it is gone and enough windows with
readings were good. Of several causes the one that explains the others counts: a stuck sensor
also drifts from its neighbours, a silent one says nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from civicstream.events import Health
from streams.health import contradictions, drift, punctuality, stillness
from streams.health.evidence import EVIDENCE
from streams.health.expectations import Expected
from streams.health.ordered import OrderedReadings
from streams.health.sensor_table import Column, SensorTable

__all__ = ["COLUMNS", "HEALTH", "OK", "Change", "judge"]

Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

HEALTH: tuple[Health, ...] = get_args(Health)
OK = 0
_STUCK, _FLAT, _IMPOSSIBLE, _SILENT, _SKEWED, _DRIFTING = range(1, 7)

_PRECEDENCE = (_DRIFTING, _FLAT, _STUCK, _IMPOSSIBLE, _SKEWED, _SILENT)
"""Later ones win."""

_RANK = np.array([0, 3, 2, 4, 6, 5, 1])
"""Of each state in that order; a sensor changes from one fault only to one of higher rank."""

_GOOD_WINDOWS = np.array([0, 10, 15, 10, 2, 5, 5])
"""Windows with readings and without evidence that end each state."""

_DEAD_AFTER_S = 1800

COLUMNS = (
    Column("health", "u1"),
    Column("since", "i8"),
    Column("good", "u1"),
    *(Column(f"{name}_since", "u4") for name in ("flat", "impossible", "skewed", "drift")),
)
"""``since`` [ms] of the present state; ``<cause>_since`` [s]: when its evidence left zero."""


@dataclass(frozen=True)
class Change:
    """One sensor's change of health.

    ``measure`` is an index, -1 where none is to blame; ``dead``: flat by its neighbours' word.
    """

    row: int
    before: int
    health: int
    since: int
    measure: int
    dead: bool = False


@dataclass(frozen=True)
class _Evidence:
    """Per sensor and state: whether it convicts, and whether it is gone."""

    convicts: Bools
    gone: Bools


def judge(
    table: SensorTable,
    readings: OrderedReadings,
    measures: tuple[Expected, ...],
    window_start: int,
    window_end: int,
) -> list[Change]:
    """Renew the states of health from the evidence; return what changed, by sensor key."""
    n = len(table)
    if not n:
        return []
    evidence = _weigh(table, measures, window_end)
    _note_beginnings(table, window_start)
    before = table["health"].copy()
    present = np.zeros(n, np.bool_)
    present[readings.rows] = True
    present |= table["late_at"] == window_end
    everyone = np.arange(n)
    gone = evidence.gone[everyone, before]
    good = np.where(gone, np.minimum(table["good"].astype(np.intp) + present, 250), 0)
    healed = (before != OK) & gone & (good >= _GOOD_WINDOWS[before])
    worst = np.zeros(n, np.intp)
    for state in _PRECEDENCE:
        worst[evidence.convicts[:, state]] = state
    worse = _RANK[worst] > np.where(healed, 0, _RANK[before])
    after = np.where(worse, worst, np.where(healed, OK, before)).astype(np.uint8)
    changed = np.flatnonzero(after != before)
    table["health"][:] = after
    table["good"][:] = np.where(after != before, 0, good)
    changes = [_change(table, int(row), int(before[row]), window_start) for row in changed]
    for change in changes:
        table["since"][change.row] = change.since
    return sorted(changes, key=lambda c: int(table.keys[c.row]))


def _weigh(table: SensorTable, measures: tuple[Expected, ...], window_end: int) -> _Evidence:
    n = len(table)
    convicts, gone = np.zeros((n, len(HEALTH)), np.bool_), np.ones((n, len(HEALTH)), np.bool_)
    for m, expected in enumerate(measures):
        convicts[:, _STUCK] |= stillness.stuck_enough(table, m, expected, window_end / 1000)
    for state, column, most, forgotten in (
        (_FLAT, "flat", EVIDENCE, 1.0),
        (_DRIFTING, "drift", drift.CONVICTS, 1.0),
    ):
        evidence = table[column].max(axis=1, initial=0)
        convicts[:, state] = evidence >= most
        gone[:, state] = evidence <= forgotten
    _separate_dead_from_drifting(table, convicts, gone, window_end)
    gone[:, _STUCK] = table["stuck"].max(axis=1, initial=0) < EVIDENCE / 4
    convicts[:, _IMPOSSIBLE] = table["impossible"] >= contradictions.CONVICTS
    gone[:, _IMPOSSIBLE] = table["impossible"] <= 0
    missing = table["missed_ms"] > punctuality.silence_limit_ms(table)
    # A clock that is wrong is known as long as readings come, even if all of them come late.
    comes_in_time = (table["missed_ms"] == 0) | (
        window_end - table["late_at"] <= table["missed_ms"] / 2
    )
    convicts[:, _SKEWED] = (table["skewed"] >= punctuality.SKEWED) & comes_in_time
    gone[:, _SKEWED] = (table["skewed"] <= 0) | ~comes_in_time
    convicts[:, _SILENT] = missing & ~convicts[:, _SKEWED]
    gone[:, _SILENT] = (table["missed_ms"] == 0) | convicts[:, _SKEWED]
    return _Evidence(convicts, gone)


def _separate_dead_from_drifting(
    table: SensorTable, convicts: Bools, gone: Bools, window_end: int
) -> None:
    """A value that has not moved for half an hour while its neighbours' have is not drifting.

    That is how a dead detector shows which counts nothing: a trivial value is never stuck.
    """
    if not table["drift"].shape[1]:
        return
    blamed = table["drift"].argmax(axis=1)
    changed_at = table["changed_at"][np.arange(len(table)), blamed].astype(np.int64)
    dead = convicts[:, _DRIFTING] & (window_end // 1000 - changed_at > _DEAD_AFTER_S)
    convicts[:, _FLAT] |= dead
    convicts[dead, _DRIFTING] = False
    gone[:, _FLAT] &= gone[:, _DRIFTING]


def _note_beginnings(table: SensorTable, window_start: int) -> None:
    now_s = window_start // 1000
    for name in ("flat", "impossible", "skewed", "drift"):
        evidence = table[name]
        there = (evidence.max(axis=1, initial=0) if evidence.ndim > 1 else evidence) > 0
        since = table[f"{name}_since"]
        table[f"{name}_since"][:] = np.where(there, np.where(since > 0, since, now_s), 0)


def _change(table: SensorTable, row: int, before: int, window_start: int) -> Change:
    state = int(table["health"][row])
    measure, since, dead = -1, window_start, False
    if state == _STUCK:
        measure = int(np.argmax(table["stuck"][row]))
        since = int(table["changed_at"][row, measure]) * 1000
    elif state in {_FLAT, _DRIFTING}:
        dead = state == _FLAT and table["flat"][row].max() < EVIDENCE
        column = "flat" if state == _FLAT and not dead else "drift"
        measure = int(np.argmax(table[column][row]))
        since = int(table[f"{column}_since"][row]) * 1000
    elif state == _IMPOSSIBLE:
        since = int(table["impossible_since"][row]) * 1000
    elif state == _SKEWED:
        since = int(table["skewed_since"][row]) * 1000
    elif state == _SILENT:
        since = int(table["seen_at"][row])
    return Change(row, before, state, since, measure, dead)
