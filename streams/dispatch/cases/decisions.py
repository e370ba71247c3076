"""People and units decide: actions move cases along, or are refused with a reason."""

from __future__ import annotations

from civicstream.events import DeadLetter
from civicstream.service_events import Action, Allocation, Case, CaseState, Unit
from streams.dispatch.cases.dead_letters import refused_action
from streams.dispatch.cases.life import MOVES, Move
from streams.dispatch.cases.matching import follow_duplicates
from streams.dispatch.cases.records import CaseRecord
from streams.dispatch.cases.standing import settle
from streams.dispatch.cases.store import CaseStore

__all__ = ["CaseDecisions"]

_PREFIX = "case/"
_REMEMBERED_ACTIONS = 16
"""Per case; what is sent again comes soon after the first time."""


class CaseDecisions:
    """Carries out what others decided about cases."""

    def __init__(self, store: CaseStore) -> None:
        self._store = store

    def act(self, action: Action, now_ms: int) -> list[Case | DeadLetter]:
        """Return the versions that the action makes, or the dead letter that refuses it.

        Nothing for an action on something else than a case, or one that was carried out already.
        """
        if not action.subject.startswith(_PREFIX):
            return []
        found = self._taken_note(action, now_ms)
        if isinstance(found, CaseRecord):
            return [*self._carry_out(found, action, now_ms)]
        return [*found]

    def examine(self, action: Action, now_ms: int) -> list[DeadLetter] | None:
        """Return None when the case allows the action, which now counts as carried out by others.

        Else the dead letters that refuse it, none for an action that was carried out already.
        """
        found = self._taken_note(action, now_ms)
        if not isinstance(found, CaseRecord):
            return found
        self._store.cases[found.id] = found
        return None

    def _taken_note(self, action: Action, now_ms: int) -> CaseRecord | list[DeadLetter]:
        """Return the case, the action noted in it, or the dead letters that refuse it."""
        record = self._store.cases.get(action.subject.removeprefix(_PREFIX))
        if record is not None and action.id in record.actions:
            return []
        problem = self._problem(action, record)
        if problem is not None or record is None:
            return [refused_action(action, *(problem or ("", "")), now_ms)]
        record.actions = [*record.actions, action.id][-_REMEMBERED_ACTIONS:]
        return record

    def remark(self, case_id: str, by: str, note: str, now_ms: int) -> list[Case]:
        """Return the next version of the case: a note, and its state as it was."""
        record = self._store.cases.get(case_id)
        return [] if record is None else [self._store.next_version(record, now_ms, by, note)]

    def _problem(self, action: Action, record: CaseRecord | None) -> tuple[str, str] | None:
        """Return reason and sentence when the action cannot be carried out."""
        if record is None:
            days = self._store.rules.closed_memory_h / 24
            return "unknown_case", (
                f"no such case is at hand; closed ones are kept for {days:g} days. "
                "Check the id, or let the problem be reported anew"
            )
        move = MOVES.get(action.action)
        if move is None:
            return "unknown_action", f"no such action; there are {', '.join(sorted(MOVES))}"
        if record.state not in move.sources:
            return "forbidden_transition", (
                f"the case is {record.state}; this is possible only from {move.from_text}"
            )
        if move.needs_note and not action.note.strip():
            return "missing_note", f"the note must say {move.needs_note}"
        if move.needs_value and not action.value:
            return "missing_value", f"the value must be {move.needs_value}"
        return self._bad_value(action, record)

    def _bad_value(self, action: Action, record: CaseRecord) -> tuple[str, str] | None:
        if action.action == "reclassify" and action.value not in self._store.services:
            return "bad_value", f"{action.value!r} is none of the city's services"
        if action.action != "duplicate":
            return None
        other = self._store.cases.get(action.value or "")
        end = None if other is None else follow_duplicates(self._store, other)
        if end is None:
            return "bad_value", f"case {action.value!r} is not at hand; name one that is"
        if end is record:
            return "bad_value", f"case {action.value!r} is itself a duplicate of this one"
        return None

    def _carry_out(self, record: CaseRecord, action: Action, now_ms: int) -> list[Case]:
        note, versions = action.note.strip(), []
        match action.action:
            case "duplicate":
                versions, note = self._merge(record, action, now_ms), note or "the same problem"
            case "reclassify":
                note = self._reclassify(record, action.value or "", note)
            case "reopen":
                record.reopen("acknowledged", now_ms)
                settle(record, self._store.service_of(record), self._store.rules, new_term=True)
            case _:
                note = _move(record, MOVES[action.action], action.value, now_ms, note)
        return [self._store.next_version(record, now_ms, action.by, note), *versions]

    def _merge(self, record: CaseRecord, action: Action, now_ms: int) -> list[Case]:
        """Give the people of a case to the one it is a duplicate of; return that one's version."""
        store = self._store
        named = store.cases.get(action.value or "")
        target = follow_duplicates(store, named) if named else None
        if target is None:
            return []
        record.close("duplicate", now_ms)
        record.duplicate_of = target.id
        for reporter, share in record.reporters.items():
            known = target.reporters.get(reporter)
            if known is not None:
                known.credit = max(known.credit, share.credit)
            elif len(target.reporters) < store.rules.max_reporters:
                target.reporters[reporter] = share
        target.reports += record.reports
        target.first_seen = min(target.first_seen, record.first_seen)
        target.last_seen = max(target.last_seen, record.last_seen)
        settle(target, store.service_of(target), store.rules, new_term=False)
        return [
            store.next_version(target, now_ms, action.by, f"{record.id} is a duplicate of this")
        ]

    def _reclassify(self, record: CaseRecord, code: str, note: str) -> str:
        before, service = record.service, self._store.services[code]
        record.service, record.agency, record.suggested_service = code, service.agency, None
        self._store.place(record)
        settle(record, service, self._store.rules, new_term=True)
        return "; ".join(filter(None, [f"service corrected from {before} to {code}", note]))

    def follow_allocation(self, allocation: Allocation, now_ms: int) -> list[Case]:
        """Let the case follow what became of sending a unit to it."""
        record = self._task_of(allocation.task)
        if record is None:
            return []
        unit, state = allocation.unit, allocation.state
        if state == "accepted" and (record.state, record.unit) != ("assigned", unit):
            by, note = allocation.decided_by, allocation.note
            return self._followed(record, "assign", unit, by, now_ms, note)
        if record.unit != unit:
            return []
        if state == "completed":
            return self._followed(record, "resolve", unit, unit, now_ms)
        # Also while it works: somebody else may be sent instead, and must find the case free.
        if state in {"rejected", "overridden", "withdrawn"}:
            return self._followed(record, "unassign", unit, allocation.decided_by, now_ms)
        return []

    def follow_unit(self, unit: Unit, now_ms: int) -> list[Case]:
        """Let the case follow its unit: work is in progress when that is on site."""
        record = self._task_of(unit.task or "")
        if unit.state != "on_site" or record is None or record.state != "assigned":
            return []
        return self._followed(record, "start", unit.id, unit.id, now_ms)

    def _task_of(self, task: str) -> CaseRecord | None:
        return self._store.cases.get(task.removeprefix(_PREFIX)) if task[:5] == _PREFIX else None

    def _followed(
        self, record: CaseRecord, name: str, unit: str, by: str, now_ms: int, note: str = ""
    ) -> list[Case]:
        move = MOVES[name]
        if record.state not in move.sources:
            return []
        note = _move(record, move, unit, now_ms, note if name == "assign" else f"unit {unit}")
        return [self._store.next_version(record, now_ms, by, note)]


def _move(record: CaseRecord, move: Move, value: str | None, now_ms: int, note: str) -> str:
    """Move the case on; return the note of the new version."""
    to: CaseState | None = move.to
    if to is None:
        return note
    if to in {"resolved", "rejected"}:
        record.close(to, now_ms)
        return note
    record.state = to
    if to == "assigned":
        record.unit = value
        return "; ".join(filter(None, [f"unit {value}", note]))
    if to == "acknowledged":
        record.unit = None
    return note
