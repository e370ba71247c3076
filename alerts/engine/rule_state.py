"""One rule at work: its conditions, and what of it is active for which subject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerts.engine.alert_state import Items
from alerts.engine.columns import Columns
from alerts.engine.conditions import ConditionState
from alerts.engine.subjects import Codes, Subjects
from alerts.engine.verdicts import Finding, Verdict, join_verdict, subject_verdict
from alerts.rules.rule import SEVERITIES, Rule
from alerts.rules.sources import SOURCES

__all__ = ["RuleState", "Transitions"]

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

# Nobody reads an alert's value more often; a flood of versions hides the ones that matter.
_UPDATE_EVERY_MS = 60_000


class Transitions(NamedTuple):
    """What of a verdict is news, by what becomes of the alert."""

    rises: list[Finding]
    """It holds for long enough and has no alert."""
    falls: list[Finding]
    """It has an alert and does not hold any more."""
    moves: list[Finding]
    """It holds on, by a value or severity that is worth a version."""


class RuleState:
    """A rule over the subjects of its one source, or over the places it joins.

    Columns, by subject or place: ``active``, and of the newest version that was made
    ``version_value``, ``version_at`` and ``severity``.
    """

    def __init__(
        self, rule: Rule, conditions: list[ConditionState], areas: Codes, segments: Codes
    ) -> None:
        self.rule = rule
        self.conditions = conditions
        self.columns = Columns(
            {"active": False, "version_value": np.nan, "version_at": 0, "severity": 0}
        )
        self.machine_time = all(SOURCES[c.condition.source].machine_time for c in conditions)
        self.clocked = not all(SOURCES[c.condition.source].windowed for c in conditions)
        self._areas = areas
        self._segments = segments

    @property
    def subjects(self) -> Subjects | None:
        """The subjects it has alerts of; None for a rule that joins."""
        return self.conditions[0].subjects if self.rule.join is None else None

    @property
    def places(self) -> Codes:
        return self._segments if self.rule.join == "segment" else self._areas

    def extend(self) -> None:
        if self.subjects is not None:
            self.columns.extend_to(len(self.subjects))
        else:
            self.columns.extend_to(max(1, len(self.places)))

    def verdict(self, rows: Rows, now_ms: int) -> Verdict:
        """Return how it stands for these subjects; a rule that joins, with their places."""
        self.extend()
        if self.rule.join is None:
            return subject_verdict(self.conditions[0], rows, now_ms)
        return self.joined(self._codes(self.conditions[0])[rows], now_ms)

    def touched(self, changed: Sequence[tuple[ConditionState, Rows]], now_ms: int) -> Verdict:
        """Return how it stands where these subjects of its conditions have changed."""
        self.extend()
        if self.rule.join is None:
            ((condition, rows),) = changed
            return subject_verdict(condition, rows, now_ms)
        codes = [self._codes(condition)[rows] for condition, rows in changed]
        return self.joined(np.concatenate(codes), now_ms)

    def everywhere(self, now_ms: int) -> Verdict:
        self.extend()
        if self.subjects is not None:
            rows = np.arange(len(self.subjects), dtype=np.intp)
            return subject_verdict(self.conditions[0], rows, now_ms)
        return self.joined(np.arange(self.columns.rows, dtype=np.intp), now_ms)

    def joined(self, codes: Rows, now_ms: int) -> Verdict:
        wanted = np.zeros(self.columns.rows, np.bool_)
        wanted[codes[codes >= 0]] = True
        return join_verdict(
            self.rule,
            self.conditions,
            [self._codes(state) for state in self.conditions],
            [self._allowed(state.subjects) for state in self.conditions],
            wanted,
            now_ms,
        )

    def _codes(self, state: ConditionState) -> Rows:
        state.extend()
        columns = state.subjects.columns
        if self.rule.join == "city":
            return np.zeros(columns.rows, np.intp)
        codes: Rows = columns["segment" if self.rule.join == "segment" else "area"].astype(np.intp)
        return codes

    def _allowed(self, subjects: Subjects) -> Mask | None:
        """Whether the rule looks at each subject; None for all of them."""
        if self.rule.areas is None:
            return None
        listed = np.array([name in self.rule.areas for name in self._areas.names], np.bool_)
        allowed: Mask = listed[subjects.columns["area"]]
        return allowed

    def transitions(self, verdict: Verdict) -> Transitions:
        """Return what of a verdict is news."""
        active = self.columns["active"][verdict.rows]
        severity = self._severity(verdict.value)
        rises = verdict.ripe & ~active & self._in_its_areas(verdict.rows)
        moves = active & verdict.holds & self._worth_a_version(verdict, severity)
        return Transitions(
            rises=verdict.findings(rises, severity),
            falls=verdict.findings(active & ~verdict.holds, severity),
            moves=verdict.findings(moves, severity),
        )

    def _in_its_areas(self, rows: Rows) -> Mask:
        """Whether the rule looks at these subjects; of places the conditions have asked that."""
        allowed = None if self.subjects is None else self._allowed(self.subjects)
        return np.ones(len(rows), np.bool_) if allowed is None else allowed[rows]

    def _worth_a_version(self, verdict: Verdict, severity: Rows) -> Mask:
        """Whether the value is another by now, not too often, or the severity is worse."""
        newest, rows = self.columns, verdict.rows
        before = newest["version_value"][rows]
        other = np.abs(verdict.value - before) > self.rule.update_share * np.abs(before)
        due = verdict.at - newest["version_at"][rows] >= _UPDATE_EVERY_MS
        worth: Mask = other & due | (severity > newest["severity"][rows])
        return worth

    def _severity(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return each value's severity; a null has the rule's."""
        severity = np.full(len(values), SEVERITIES.index(self.rule.severity), np.intp)
        only = self.conditions[0].condition
        falls = self.rule.join is None and only.below is not None
        for limit, worse in self.rule.worse:
            reached = values <= limit if falls else values >= limit
            severity[reached] = SEVERITIES.index(worse)
        return severity

    def severity_of(self, value: float | None) -> int:
        values = np.array([np.nan if value is None else value])
        return int(self._severity(values)[0])

    def note_raised(self, found: Finding) -> None:
        """Note what the newest version of a subject's alert says."""
        self._note(found.row, True, found.value, found.at, found.severity)

    def note_ended(self, found: Finding) -> None:
        """Note that a subject has no alert any more."""
        self._note(found.row, False, np.nan, found.at, 0)

    def _note(self, row: int, active: bool, value: float, at: int, severity: int) -> None:
        columns = self.columns
        columns["active"][row] = active
        columns["version_value"][row], columns["version_at"][row] = value, at
        columns["severity"][row] = severity

    def take_changes(self) -> Items:
        """Return the items of the state store that have changed since the last call."""
        items: Items = {}
        for condition in self.conditions:
            items |= condition.take_changes(self.rule.name)
        return items

    def pending(self) -> Rows:
        """Return the subjects that hold and have no alert: by the clock, one may be due."""
        self.extend()
        state = self.conditions[0]
        state.extend()
        rows: Rows = np.flatnonzero(state.columns["holds"] & ~self.columns["active"])
        return rows
