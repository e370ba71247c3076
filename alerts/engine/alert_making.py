"""From what rises, falls or moves to versions of alerts."""

from __future__ import annotations

import math
from typing import Any

from alerts.engine.book import Book, Known, alert_id
from alerts.engine.places import Places
from alerts.engine.rule_state import RuleState
from alerts.engine.storms import Storms
from alerts.engine.subjects import Codes
from alerts.engine.verdicts import Verdict
from alerts.rules import templates
from alerts.rules.rule import SEVERITIES
from alerts.rules.rule_reading import MESSAGE_FIELDS
from civicstream.clock import rfc3339
from civicstream.events import Alert

__all__ = ["AlertMaker"]


class AlertMaker:
    """Makes versions in the book, and the parents' that follow."""

    def __init__(self, book: Book, storms: Storms, places: Places) -> None:
        self._book = book
        self._storms = storms
        self._places = places

    def rise(
        self, state: RuleState, verdict: Verdict, i: int, severity: int, now_ms: int
    ) -> list[Alert]:
        """Raise the alert of the verdict's ``i``-th row, unless it is out of the schedule."""
        rule, row, at = state.rule, int(verdict.rows[i]), int(verdict.at[i])
        if rule.schedule is not None and not rule.schedule.covers(now_ms if state.clocked else at):
            return []
        subject, area, known = self._described(state, row)
        if rule.join is not None and not _in_areas(state, area):
            return []
        value = float(verdict.value[i])
        known |= self._shared(state, subject, area, value, severity, int(verdict.since[i]))
        key = f"{rule.name}:{templates.fill(rule.key, known) if rule.key else subject}"
        point = self._point(subject, area, known)
        since = int(verdict.since[i])
        alert = Alert(
            alert_id(rule.name, key, since),
            1,
            "active",
            "raised",
            rule.name,
            key,
            severity=SEVERITIES[severity],
            area=area,
            subject=subject,
            headline=templates.fill(rule.message, known),
            description=templates.fill(rule.description, known),
            started_at=since,
            updated_at=at,
            computed_at=now_ms,
            value=None if math.isnan(value) else value,
            threshold=rule.threshold,
            lon=point and point[0],
            lat=point and point[1],
        )
        made = self._book.raise_(alert, subject)
        before = self._book.of_key(key)
        if before is not None and before.active:
            state.tell(row, True, value, at, severity)
        return [] if made is None else [made, *self._storms.raised(made, now_ms)]

    def _described(self, state: RuleState, row: int) -> tuple[str, str, dict[str, Any]]:
        """Return subject, area, and what messages may name of it."""
        subjects = state.subjects
        if subjects is not None:
            name, area = subjects.names[row], subjects.area_of(row)
            return f"{subjects.kind}/{name}", area, _shown(subjects.fields(row)) | {"name": name}
        if state.rule.join == "city":
            return "city", "city", {"name": "city"}
        name = state.places.names[row]
        if state.rule.join == "area":
            return f"area/{name}", name, {"name": name}
        return f"segment/{name}", _area_of_segment(state, row), {"name": name}

    def _shared(
        self, state: RuleState, subject: str, area: str, value: float, severity: int, since: int
    ) -> dict[str, Any]:
        return {
            "area": area,
            "subject": subject,
            "severity": SEVERITIES[severity],
            "started": rfc3339(since),
            "rule": state.rule.name,
            "value": None if math.isnan(value) else value,
            "threshold": state.rule.threshold,
        }

    def _point(self, subject: str, area: str, known: dict[str, Any]) -> tuple[float, float] | None:
        lon, lat = known.get("lon"), known.get("lat")
        if isinstance(lon, float) and isinstance(lat, float):
            return lon, lat
        kind, _, name = subject.partition("/")
        segment = name if kind == "segment" else known.get("segment")
        return self._places.find(kind, name, segment, area)

    def fall(self, state: RuleState, verdict: Verdict, i: int, now_ms: int) -> list[Alert]:
        """End the part of the verdict's ``i``-th row in its alert."""
        row, at = int(verdict.rows[i]), int(verdict.at[i])
        subject, known = self._known(state, row)
        if known is None:
            state.tell(row, False, math.nan, at, 0)
            return []
        made = self._book.release(known, subject, now_ms, at)
        if made is not None or not known.active or subject not in known.holders:
            state.tell(row, False, math.nan, at, 0)
        return [] if made is None else [made, *self._storms.cleared(made, now_ms)]

    def move(
        self, state: RuleState, verdict: Verdict, i: int, severity: int, now_ms: int
    ) -> list[Alert]:
        """Tell the new value of the verdict's ``i``-th row, unless that is old news."""
        row, at, value = int(verdict.rows[i]), int(verdict.at[i]), float(verdict.value[i])
        subject, known = self._known(state, row)
        if known is None or not known.active or at <= known.event_at:
            return []
        if known.alert.subject != subject:  # it shares the key with the one that is told of
            return []
        told, area, fields = self._described(state, row)
        shared = self._shared(state, told, area, value, severity, known.alert.started_at)
        state.tell(row, True, value, at, severity)
        raised = min(severity + known.alert.escalation, len(SEVERITIES) - 1)
        return [
            self._book.change(
                known,
                now_ms,
                at,
                "updated",
                value=None if math.isnan(value) else value,
                severity=SEVERITIES[raised],
                headline=templates.fill(state.rule.message, fields | shared),
                description=templates.fill(state.rule.description, fields | shared),
            )
        ]

    def _known(self, state: RuleState, row: int) -> tuple[str, Known | None]:
        """Return the subject and the active alert it takes part in."""
        subject = self._described(state, row)[0]
        if state.rule.key is None:
            return subject, self._book.of_key(f"{state.rule.name}:{subject}")
        for known in self._book.active():
            if known.alert.rule == state.rule.name and subject in known.holders:
                return subject, known
        return subject, None

    def end(self, known: Known, now_ms: int) -> list[Alert]:
        """Clear an alert whose rule is gone."""
        made = self._book.clear(known, now_ms, now_ms)
        return [made, *self._storms.cleared(made, now_ms)]

    def assume(self, state: RuleState, known: Known) -> None:
        """Let a rule that has no state of its own go on with an active alert."""
        if state.subjects is None:
            return
        alert, (_, _, name) = known.alert, known.alert.subject.partition("/")
        own = [name] if state.subjects.kind == "segment" else None
        row = int(state.subjects.rows_of([name], alert.area, own)[0])
        condition = state.conditions[0]
        condition.assume(row, alert.started_at, known.event_at, alert.value)

    def resume(self, state: RuleState, known: Known, segments: Codes, areas: Codes) -> None:
        """Note the newest version of an active alert where the rule looks at its subjects."""
        alert = known.alert
        value = math.nan if alert.value is None else alert.value
        severity = state.severity_of(alert.value)
        for subject in known.holders:
            _, _, name = subject.partition("/")
            if state.subjects is not None:
                row = state.subjects.find(name)
            elif state.rule.join == "city":
                row = 0
            else:
                row = (segments if state.rule.join == "segment" else areas).of(name)
            if row is not None:
                state.extend()
                state.tell(row, True, value, known.event_at, severity)


def _shown(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the source's fields; those that an alert has too are ``source_...``."""
    return fields | {f"source_{name}": fields[name] for name in MESSAGE_FIELDS if name in fields}


def _in_areas(state: RuleState, area: str) -> bool:
    listed = state.rule.areas
    return listed is None or area in listed or area == "city"


def _area_of_segment(state: RuleState, code: int) -> str:
    for condition in state.conditions:
        columns = condition.subjects.columns
        found = (columns["segment"] == code).nonzero()[0]
        if len(found):
            return condition.subjects.area_of(int(found[0]))
    return "city"
