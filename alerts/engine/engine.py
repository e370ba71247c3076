"""The alert engine: events and the clock in, versions of alerts out; pure.

Events of one subject come in their order; an event that comes again changes nothing. What holds
is known for every subject as columns, so that a window of thousands of segments is a few array
operations a rule; only what rises, falls or has moved is looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alerts.engine.alert_making import AlertMaker
from alerts.engine.alert_state import Items, Restored, encode, fingerprint, held_key
from alerts.engine.alert_store import AlertStore, Known
from alerts.engine.conditions import ConditionState
from alerts.engine.places import Places
from alerts.engine.rule_state import RuleState
from alerts.engine.storms import Storms, is_parent
from alerts.engine.subjects import Codes, Subjects
from alerts.engine.verdicts import Verdict
from alerts.rules.rule import SEVERITIES, RuleSet
from alerts.rules.sources import SOURCES, EventColumns
from civicstream.city import Point
from civicstream.clock import REAL, Clock
from civicstream.events import Alert
from civicstream.service_events import Action

__all__ = ["AlertEngine"]

Rows = NDArray[np.intp]

_TIDY_EVERY_MS = 600_000
# Events of a subject that comes back later than this count as new: none is on its way any more.
_KEPT_MS = 2 * 3_600_000
# How long a stack may take to start until its first results [ms of the machine's time].
_START_MS = 120_000


class AlertEngine:
    """The rules at work; one for the city."""

    def __init__(self, rules: RuleSet, places: Places, clock: Clock = REAL) -> None:
        self.rules = rules
        self._clock = clock
        self.store = AlertStore()
        self._places = places
        self._areas, self._segments = Codes(), Codes()
        self._areas.of("city")  # code 0 is where a rule over the whole city joins
        self._spaces: dict[tuple[str, bool], Subjects] = {}
        self._states = [self._state(rule) for rule in rules.rules]
        self._by_name = {state.rule.name: state for state in self._states}
        self._storms = Storms(rules, self.store, self._area_point)
        self._maker = AlertMaker(self.store, self._storms, places)
        self._fingerprints = {rule.name: fingerprint(rule) for rule in rules.rules}
        self._stored = Restored()
        self._gone: Items = {}
        self._began_ms: int | None = None
        self._awaiting = [
            condition
            for state in self._states
            for condition in state.conditions
            if condition.condition.by_area and condition.condition.no_data_for_ms
        ]
        """Absence of areas that is not expected to end yet: none has ever reported."""
        self._tidy_at = 0

    def _state(self, rule: Any) -> RuleState:
        conditions = []
        for condition in rule.conditions:
            space = (condition.source, condition.by_area)
            if space not in self._spaces:
                kind = "area" if condition.by_area else SOURCES[condition.source].subject
                source = SOURCES[condition.source]
                self._spaces[space] = Subjects(kind, source, self._areas, self._segments)
            conditions.append(ConditionState(condition, self._spaces[space]))
        return RuleState(rule, conditions, self._areas, self._segments)

    def _area_point(self, area: str) -> Point | None:
        return self._places.areas.get(area)

    @property
    def active_count(self) -> int:
        return self.store.active_count

    def apply(self, topic: str, event: Any, now_ms: int) -> list[Alert]:
        """Return the versions that follow from an event of ``topic`` (without the prefix)."""
        if topic == "actions":
            return self._act(event, now_ms)
        made: list[Alert] = []
        for state, changed in self._take(topic, event, now_ms):
            made += self._judge(state, state.touched(changed, now_ms), now_ms)
        return made

    def observe(self, topic: str, event: Any) -> None:
        """Take an event in whose versions were published in an earlier life."""
        if topic != "actions":
            self._take(topic, event)

    def _take(
        self, topic: str, event: Any, now_ms: int | None = None
    ) -> list[tuple[RuleState, list[tuple[ConditionState, Rows]]]]:
        """Return each rule that looks at the event, with the subjects of its conditions."""
        if topic not in self.rules.sources or getattr(event, "status", "final") != "final":
            return []
        batch = SOURCES[topic].batch(event)
        for (source, _), subjects in self._spaces.items():
            if source == topic and now_ms is not None:
                subjects.came(batch.at, now_ms)
        taken = {space: self._note(space, batch) for space in self._spaces if space[0] == topic}
        touched = []
        for state in self._states:
            changed = []
            for condition in state.conditions:
                found = taken.get((condition.condition.source, condition.condition.by_area))
                if found is not None:
                    condition.take(found[0], batch, found[1])
                    changed.append((condition, found[0]))
            if changed:
                touched.append((state, changed))
        return touched

    def _note(self, space: tuple[str, bool], batch: EventColumns) -> tuple[Rows, NDArray[np.bool_]]:
        subjects = self._spaces[space]
        if space[1]:
            rows = subjects.rows_of([batch.area], batch.area)
        else:
            rows = subjects.rows_of(batch.names(), batch.area, batch.segments())
        return rows, subjects.take(rows, batch)

    def _judge(self, state: RuleState, verdict: Verdict, now_ms: int) -> list[Alert]:
        made: list[Alert] = []
        if state.machine_time:
            verdict = verdict.in_city_time(self._clock)
        news = state.transitions(verdict)
        for found in news.rises:
            made += self._maker.rise(state, found, now_ms)
        for found in news.falls:
            made += self._maker.fall(state, found, now_ms)
        for found in news.moves:
            made += self._maker.move(state, found, now_ms)
        return made

    def _act(self, action: Action, now_ms: int) -> list[Alert]:
        if not action.subject.startswith("alert/"):
            return []
        made = self.store.act(action, now_ms)
        return [] if made is None else [made]

    def tick(
        self, now_ms: int, *, machine_ms: int | None = None, caught_up: bool = True
    ) -> list[Alert]:
        """Return what follows from the clocks alone: the city's, and the machine's where that is
        another.

        Absence and forgetting are judged only when ``caught_up``: what is still unread is not
        absent.
        """
        machine_ms = now_ms if machine_ms is None else machine_ms
        self._expect_areas(now_ms, machine_ms)
        made: list[Alert] = []
        for state in self._states:
            changed = [(c, c.tick(now_ms, machine_ms, caught_up)) for c in state.conditions]
            if state.rule.join is not None:
                if state.clocked or any(len(rows) for _, rows in changed):
                    made += self._judge(state, state.everywhere(now_ms), now_ms)
                continue
            rows = changed[0][1]
            if state.clocked:
                rows = np.union1d(rows, state.pending()).astype(np.intp)
            if len(rows):
                made += self._judge(state, state.verdict(rows, now_ms), now_ms)
        made += _due_by_clock(self.store, self._by_name, now_ms)
        self._tidy(now_ms)
        return made

    def _expect_areas(self, now_ms: int, machine_ms: int) -> None:
        """Areas with sensors that never report are absent too: from the first one that does,
        or from when a stack should have started.
        """
        self._began_ms = machine_ms if self._began_ms is None else self._began_ms
        started = machine_ms - self._began_ms >= _START_MS
        due = [c for c in self._awaiting if started or c.has_reported]
        for condition in due:
            for area in self._places.expected(condition.condition):
                condition.expect(condition.subjects.rows_of([area], area), now_ms)
            self._awaiting.remove(condition)

    def restore(self, stored: Restored) -> None:
        """Begin with what a state store held, before any event.

        Then come the events within the rules' memory by ``observe``, and then ``resume``.
        """
        self.store.restore(stored.alerts, stored.actions)
        self._stored = stored
        self._assume()

    def replay(self, versions: Iterable[Alert], actions: Sequence[str] = ()) -> None:
        """Begin with published versions, in their order, where no state store has them.

        ``actions``: ids of the actions that made some of them.
        """
        self.store.replay(versions, actions)
        self._stored = Restored()
        self._assume()

    def _assume(self) -> None:
        new = self.new_rules
        for known in self.store.active():
            state = self._by_name.get(known.alert.rule)
            if state is not None and state.rule.name in new and not is_parent(known.alert):
                self._maker.assume(state, known)

    @property
    def new_rules(self) -> frozenset[str]:
        """The rules that the state store knew nothing of, or that read otherwise now."""
        known = self._stored.fingerprints
        return frozenset(n for n, f in self._fingerprints.items() if known.get(n) != f)

    def resume(self, now_ms: int) -> list[Alert]:
        """Go on where the state store left off; return what new rules ask for by now.

        Alerts of rules that are gone end here.
        """
        new = self.new_rules
        for name, state in self._by_name.items():
            for condition in state.conditions:
                if name not in new:
                    held = self._stored.held.get((name, condition.condition.name), {})
                    condition.restore(held)
        made: list[Alert] = self._storms.restore(now_ms)
        for known in self.store.active():
            if is_parent(known.alert):
                continue
            state_of = self._by_name.get(known.alert.rule)
            if state_of is None:
                made += self._maker.end(known, now_ms)
            else:
                self._maker.resume(state_of, known, self._segments, self._areas)
        made += self._storms.dissolve(now_ms)
        for name in sorted(new):
            state = self._by_name[name]
            made += self._judge(state, state.everywhere(now_ms), now_ms)
        self._gone = self._stale_items(new)
        return made

    def _stale_items(self, new: frozenset[str]) -> Items:
        """Return the items of rules that are gone or read otherwise as gone."""
        stored = self._stored
        items: Items = {f"rule/{n}": None for n in stored.fingerprints if n not in self._by_name}
        for (rule, condition), held in stored.held.items():
            if rule in new or rule not in self._by_name:
                items |= {held_key(rule, condition, subject): None for subject in held}
        return items | {f"rule/{name}": encode(self._fingerprints[name]) for name in new}

    def take_changes(self) -> Items:
        """Return the items of the state store that have changed since the last call."""
        items, self._gone = self._gone, {}
        for state in self._states:
            items |= state.take_changes()
        return items | self.store.take_changes()

    def _tidy(self, now_ms: int) -> None:
        """Forget subjects without news and alerts long over: memory is bounded by what lives."""
        if now_ms < self._tidy_at:
            return
        self._tidy_at = now_ms + _TIDY_EVERY_MS
        kept_ms = _KEPT_MS + 2 * self.rules.memory_ms
        self.store.forget_cleared(now_ms - kept_ms)
        for space, subjects in self._spaces.items():
            users = [
                (state, condition)
                for state in self._states
                for condition in state.conditions
                if (condition.condition.source, condition.condition.by_area) == space
            ]
            oldest_ms = now_ms - subjects.behind_ms - kept_ms
            keep = subjects.columns["at"] >= oldest_ms
            for state, condition in users:
                state.extend()
                condition.extend()
                keep |= condition.columns["holds"] | (condition.columns["seen"] > oldest_ms)
                if state.subjects is subjects:
                    keep |= state.columns["active"]
            if not keep.all():
                kept = np.flatnonzero(keep)
                subjects.keep(kept)
                for state, condition in users:
                    condition.keep(kept)
                    if state.subjects is subjects:
                        state.columns.keep(kept)


def _due_by_clock(store: AlertStore, states: Mapping[str, RuleState], now_ms: int) -> list[Alert]:
    """Return the ends of silences, and the escalations of what nobody acknowledged in time."""
    made = []
    for known in store.active():
        alert = known.alert
        if alert.silenced_until is not None:
            if now_ms >= alert.silenced_until:
                made.append(
                    store.change(
                        known,
                        now_ms,
                        alert.silenced_until,
                        "unsilenced",
                        silenced_until=None,
                        silenced_by=None,
                    )
                )
            continue
        due = _escalates_at(known, states)
        if due is not None and now_ms >= due:
            worse = SEVERITIES[SEVERITIES.index(alert.severity) + 1]
            made.append(
                store.change(
                    known,
                    now_ms,
                    due,
                    "escalated",
                    severity=worse,
                    escalation=alert.escalation + 1,
                )
            )
    return made


def _escalates_at(known: Known, states: Mapping[str, RuleState]) -> int | None:
    """Return when the alert escalates next [ms]; None when it does not."""
    alert, state = known.alert, states.get(known.alert.rule)
    if state is None or not state.rule.escalate_after_ms:
        return None
    if alert.acknowledged_at is not None or alert.parent is not None:
        return None
    if alert.severity == SEVERITIES[-1]:
        return None
    return known.raised_at + (alert.escalation + 1) * state.rule.escalate_after_ms
