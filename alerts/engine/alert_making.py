"""From what rises, falls or moves at a rule to versions of alerts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from alerts.engine.alert_store import AlertStore, Known, alert_id
from alerts.engine.places import Places
from alerts.engine.rule_state import RuleState
from alerts.engine.storms import Storms
from alerts.engine.subjects import Codes
from alerts.engine.verdicts import Finding
from alerts.rules import templates
from alerts.rules.rule import SEVERITIES, Rule
from alerts.rules.rule_reading import MESSAGE_FIELDS
from civicstream.city import Point
from civicstream.clock import rfc3339
from civicstream.events import Alert

__all__ = ["AlertMaker"]


@dataclass(frozen=True)
class _Subject:
    """What an alert is about."""

    name: str
    """``segment/s1``, ``area/north``, ``city`` …"""
    area: str
    fields: dict[str, Any]
    """What messages may name of it."""


class AlertMaker:
    """Makes versions in the store of alerts, and the parents' that follow."""

    def __init__(self, store: AlertStore, storms: Storms, places: Places) -> None:
        self._store = store
        self._storms = storms
        self._places = places

    def rise(self, state: RuleState, found: Finding, now_ms: int) -> list[Alert]:
        """Raise the alert of what a rule found, unless it is out of the schedule."""
        rule = state.rule
        if rule.schedule is not None:
            at = now_ms if state.clocked else found.at
            if not rule.schedule.covers(at):
                return []
        subject = self._subject(state, found.row)
        if rule.join is not None and not _in_areas(state, subject.area):
            return []
        alert = self._first_version(state, subject, found, now_ms)
        made = self._store.raise_(alert, subject.name)
        of_key = self._store.of_key(alert.key)
        if of_key is not None and of_key.active:
            state.note_raised(found)
        return [] if made is None else [made, *self._storms.raised(made, now_ms)]

    def _first_version(
        self, state: RuleState, subject: _Subject, found: Finding, now_ms: int
    ) -> Alert:
        rule = state.rule
        fields = _message_fields(rule, subject, found, found.since)
        about = templates.fill(rule.key, fields) if rule.key else subject.name
        key = f"{rule.name}:{about}"
        point = self._point(subject, fields)
        return Alert(
            id=alert_id(rule.name, key, found.since),
            version=1,
            state="active",
            change="raised",
            rule=rule.name,
            key=key,
            severity=SEVERITIES[found.severity],
            area=subject.area,
            subject=subject.name,
            headline=templates.fill(rule.message, fields),
            description=templates.fill(rule.description, fields),
            started_at=found.since,
            updated_at=found.at,
            computed_at=now_ms,
            value=found.number,
            threshold=rule.threshold,
            lon=point and point[0],
            lat=point and point[1],
        )

    def _subject(self, state: RuleState, row: int) -> _Subject:
        subjects = state.subjects
        if subjects is not None:
            name = subjects.names[row]
            return _Subject(
                name=f"{subjects.kind}/{name}",
                area=subjects.area_of(row),
                fields=_shown(subjects.fields(row)) | {"name": name},
            )
        if state.rule.join == "city":
            return _Subject("city", "city", {"name": "city"})
        name = state.places.names[row]
        if state.rule.join == "area":
            return _Subject(f"area/{name}", name, {"name": name})
        return _Subject(f"segment/{name}", _area_of_segment(state, row), {"name": name})

    def _point(self, subject: _Subject, fields: dict[str, Any]) -> Point | None:
        lon, lat = fields.get("lon"), fields.get("lat")
        if isinstance(lon, float) and isinstance(lat, float):
            return lon, lat
        kind, _, name = subject.name.partition("/")
        segment = name if kind == "segment" else fields.get("segment")
        return self._places.find(kind, name, segment, subject.area)

    def fall(self, state: RuleState, found: Finding, now_ms: int) -> list[Alert]:
        """End the part that a subject has in its alert."""
        subject, known = self._known(state, found.row)
        if known is None:
            state.note_ended(found)
            return []
        made = self._store.release(known, subject, now_ms, found.at)
        if made is not None or not known.active or subject not in known.holders:
            state.note_ended(found)
        return [] if made is None else [made, *self._storms.cleared(made, now_ms)]

    def move(self, state: RuleState, found: Finding, now_ms: int) -> list[Alert]:
        """Publish the new value of an alert's subject, unless that is old news."""
        name, known = self._known(state, found.row)
        if known is None or not known.active or found.at <= known.event_at:
            return []
        if known.alert.subject != name:  # it shares the key with the one the alert is about
            return []
        state.note_raised(found)
        rule, subject = state.rule, self._subject(state, found.row)
        fields = _message_fields(rule, subject, found, known.alert.started_at)
        raised = min(found.severity + known.alert.escalation, len(SEVERITIES) - 1)
        return [
            self._store.change(
                known,
                now_ms,
                found.at,
                "updated",
                value=found.number,
                severity=SEVERITIES[raised],
                headline=templates.fill(rule.message, fields),
                description=templates.fill(rule.description, fields),
            )
        ]

    def _known(self, state: RuleState, row: int) -> tuple[str, Known | None]:
        """Return the subject and the active alert it takes part in."""
        subject = self._subject(state, row).name
        if state.rule.key is None:
            return subject, self._store.of_key(f"{state.rule.name}:{subject}")
        for known in self._store.active():
            if known.alert.rule == state.rule.name and subject in known.holders:
                return subject, known
        return subject, None

    def end(self, known: Known, now_ms: int) -> list[Alert]:
        """Clear an alert whose rule is gone."""
        made = self._store.clear(known, now_ms, now_ms)
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
                state.note_raised(Finding(row, alert.started_at, known.event_at, value, severity))


def _message_fields(
    rule: Rule, subject: _Subject, found: Finding, started_at: int
) -> dict[str, Any]:
    """Return what the rule's texts may name: the source's fields and the alert's own."""
    return subject.fields | {
        "area": subject.area,
        "subject": subject.name,
        "severity": SEVERITIES[found.severity],
        "started": rfc3339(started_at),
        "rule": rule.name,
        "value": found.number,
        "threshold": rule.threshold,
    }


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
