"""What a rule's conditions come to, for each of its subjects or for each joined place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerts.engine.conditions import ConditionState
from alerts.rules.rule import Rule
from alerts.rules.sources import SOURCES
from civicstream.clock import Clock

__all__ = ["Finding", "Verdict", "join_verdict", "subject_verdict"]

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
Longs = NDArray[np.int64]
Floats = NDArray[np.float64]

_NEVER = np.iinfo(np.int64).min


class Finding(NamedTuple):
    """How a rule stands for one subject or place."""

    row: int
    """Of the subject, or the code of the place."""
    since: int
    at: int
    """Time of the event, or end of the time, that this follows from."""
    value: float
    """NaN for none."""
    severity: int
    """Index into SEVERITIES, before escalation."""

    @property
    def number(self) -> float | None:
        return None if math.isnan(self.value) else self.value


@dataclass(frozen=True)
class Verdict:
    """How a rule stands for some of its subjects or places: columns of equal length."""

    rows: Rows
    """Of the subjects, or codes of the joined places."""
    holds: Mask
    ripe: Mask
    """It has held for its time."""
    since: Longs
    at: Longs
    """Time of the event, or end of the time, that this follows from."""
    value: Floats

    def findings(self, chosen: Mask, severity: Rows) -> list[Finding]:
        """Return the chosen ones one by one."""
        if not chosen.any():
            return []
        return [
            Finding(
                row=int(self.rows[i]),
                since=int(self.since[i]),
                at=int(self.at[i]),
                value=float(self.value[i]),
                severity=int(severity[i]),
            )
            for i in chosen.nonzero()[0].tolist()
        ]

    def in_city_time(self, clock: Clock) -> Verdict:
        """Return it with times of the machine's clock given as the city's."""
        since, at = (
            np.array([clock.at(time) for time in times.tolist()], np.int64)
            for times in (self.since, self.at)
        )
        return replace(self, since=since, at=at)


def _windowed(state: ConditionState) -> bool:
    return SOURCES[state.condition.source].windowed


def subject_verdict(state: ConditionState, rows: Rows, now_ms: int) -> Verdict:
    """Return whether a rule of one condition holds for these subjects."""
    columns, condition = state.columns, state.condition
    holds, since = columns["holds"][rows], columns["since"][rows]
    ripe = state.ripe(rows, now_ms, _windowed(state))
    due = since + np.where(holds, condition.for_ms + (condition.no_data_for_ms or 0), 0)
    at = np.maximum(columns["seen"][rows], due)
    return Verdict(rows, holds, ripe, since, at, columns["value"][rows])


@dataclass(frozen=True)
class _Projected:
    """One condition over places."""

    holds: Mask
    since: Longs
    seen: Longs
    count: Longs


def _project(
    state: ConditionState, wanted: Mask, code: Rows, allowed: Mask | None, now_ms: int
) -> _Projected:
    """Return the condition over places; ``code`` is each subject's, -1 for none."""
    places, columns = len(wanted), state.columns
    mask = (code >= 0) & (columns["seen"] != _NEVER)
    mask &= wanted[np.maximum(code, 0)] if places else False
    if allowed is not None:
        mask &= allowed
    rows = mask.nonzero()[0]
    codes, since = code[rows], columns["since"][rows]
    held = state.ripe(rows, now_ms, _windowed(state))
    count = np.bincount(codes[held], minlength=places).astype(np.int64)
    holds = count >= state.condition.at_least
    seen = np.full(places, _NEVER)
    np.maximum.at(seen, codes, columns["seen"][rows])
    began = np.full(places, _NEVER)
    np.maximum.at(began, codes[~held], since[~held])
    # It began to hold when the last subject that it takes did.
    order = np.lexsort((since[held], codes[held]))
    first = np.concatenate([[0], np.cumsum(count)[:-1]]) if places else count
    nth = (first + state.condition.at_least - 1)[holds]
    began[holds] = since[held][order][nth]
    return _Projected(holds, began, seen, count)


def join_verdict(
    rule: Rule,
    states: Sequence[ConditionState],
    codes: Sequence[Rows],
    allowed: Sequence[Mask | None],
    wanted: Mask,
    now_ms: int,
) -> Verdict:
    """Return whether a rule holds at the ``wanted`` places (bool[places]).

    ``codes`` and ``allowed`` are, for each condition, its subjects' place and whether the rule
    looks at them.
    """
    parts = {
        state.condition.name: _project(state, wanted, code, ok, now_ms)
        for state, code, ok in zip(states, codes, allowed, strict=True)
    }
    places = len(wanted)
    holds, since = np.ones(places, np.bool_), np.full(places, _NEVER)
    for name in rule.all:
        holds &= parts[name].holds
        since = np.maximum(since, parts[name].since)
    if rule.any:
        some = np.stack([parts[name].holds for name in rule.any])
        earliest = np.stack([parts[name].since for name in rule.any])
        holds &= some.any(axis=0)
        began = np.where(some, earliest, np.iinfo(np.int64).max).min(axis=0)
        since = np.maximum(since, np.where(some.any(axis=0), began, earliest.max(axis=0)))
    for name in rule.none:
        holds &= ~parts[name].holds
        since = np.maximum(since, parts[name].since)
    seen = np.stack([part.seen for part in parts.values()]).max(axis=0)
    clocked = not all(_windowed(state) for state in states)
    until = np.int64(now_ms) if clocked else seen
    ripe = holds & ((until >= since + rule.for_ms) if rule.for_ms else True)
    at = np.maximum(seen, since + np.where(holds & (since != _NEVER), rule.for_ms, 0))
    at = np.where(at == _NEVER, np.int64(now_ms), at)
    value = np.full(places, np.nan)
    if len(states) == 1:
        value = parts[states[0].condition.name].count.astype(np.float64)
    rows = wanted.nonzero()[0]
    return Verdict(rows, holds[rows], ripe[rows], since[rows], at[rows], value[rows])
