"""The standing allocations and their versions: made, accepted, ended; and what units do of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from civicstream.service_events import Allocation, AllocationState, Task, Unit
from streams.dispatch.allocation.settings import DispatchSettings
from streams.dispatch.allocation.store import AdviceRecord, AllocationStore, Refusal, UnitRecord

__all__ = ["AllocationVersions", "Ended", "fixed"]

ACTIVE = frozenset({"assigned", "en_route", "on_site"})

OWN_CHOICE = "unit"
"""Policy of an allocation that a unit made by itself."""

Ended = Literal["rejected", "overridden", "withdrawn", "completed"]


class AllocationVersions:
    """Writes the store's allocations; every change is a new version."""

    def __init__(self, store: AllocationStore, settings: DispatchSettings) -> None:
        self._store = store
        self._settings = settings

    def open(self, allocation: Allocation, *, pinned: bool = False) -> Allocation:
        """Let version 1 of an allocation stand."""
        record = self._store.tasks[allocation.task]
        record.advice = allocation.id
        self._store.advices[allocation.id] = AdviceRecord(
            allocation, pinned, since=allocation.proposed_at
        )
        self._store.advice_by_unit[allocation.unit] = allocation.id
        self._store.tasks.touch(allocation.task)
        return allocation

    def accept(self, advice: AdviceRecord, by: str, now_ms: int, note: str) -> Allocation:
        return self._next(advice, "accepted", by, now_ms, note)

    def end(
        self, advice: AdviceRecord, state: Ended, by: str, now_ms: int, note: str
    ) -> Allocation:
        """Return the last version and forget the allocation; its task is open again."""
        last = self._next(advice, state, by, now_ms, note)
        del self._store.advices[last.id]
        if self._store.advice_by_unit.get(last.unit) == last.id:
            del self._store.advice_by_unit[last.unit]
        record = self._store.tasks.get(last.task)
        if record is not None and record.advice == last.id:
            record.advice = None
            record.started_at = None
            self._store.tasks.touch(last.task)
        return last

    def bar(self, task: str, unit: str, until_ms: int) -> None:
        """Send the unit to this task no more before then."""
        record = self._store.tasks[task]
        record.barred = {**record.barred, unit: until_ms}
        self._store.tasks.touch(task)

    def expire(self, now_ms: int) -> list[Allocation | Refusal]:
        """End the proposals that nobody has answered in time."""
        patience_ms = self._settings.answer_within_s * 1000
        out: list[Allocation | Refusal] = []
        for advice in list(self._store.advices.values()):
            waiting = advice.allocation.state == "proposed"
            if waiting and now_ms - advice.since >= patience_ms:
                until = now_ms + round(self._settings.silent_bar_min * 60_000)
                self.bar(advice.allocation.task, advice.allocation.unit, until)
                out.append(self.end(advice, "withdrawn", "system", now_ms, "nobody answered"))
        return out

    def follow(self, record: UnitRecord, before: Unit, now_ms: int) -> list[Allocation | Refusal]:
        """Return what the unit's new state makes of its allocation."""
        unit = record.unit
        was_on_site = record.on_site_since is not None
        if unit.state != "on_site":
            record.on_site_since = None
        elif not was_on_site or unit.task != before.task:
            record.on_site_since = unit.at
        out = self._own_choice(unit, now_ms)
        advice = self._store.advice_for_unit(unit.id)
        if advice is None:
            return out
        task = self._store.tasks[advice.allocation.task]
        if unit.task == advice.allocation.task and unit.state in ACTIVE:
            if unit.state == "on_site" and task.started_at is None:
                task.started_at = unit.at
                self._store.tasks.touch(task.task.id)
            if advice.allocation.state == "proposed":
                out.append(self.accept(advice, unit.id, now_ms, "the unit went"))
        elif was_on_site and task.started_at is not None:
            task.done = True
            note = "the unit has left the site"
            out.append(self.end(advice, "completed", unit.id, now_ms, note))
        elif unit.state == "off_duty":
            note = "the unit went off duty"
            out.append(self.end(advice, "withdrawn", unit.id, now_ms, note))
        return out

    def _own_choice(self, unit: Unit, now_ms: int) -> list[Allocation | Refusal]:
        """Return what it means that a unit goes to an open task to which nobody was sent."""
        record = self._store.tasks.get(unit.task or "")
        if unit.state not in ACTIVE or record is None or record.advice is not None or record.done:
            return []
        out: list[Allocation | Refusal] = []
        standing = self._store.advice_for_unit(unit.id)
        if standing is not None:
            note = f"{unit.id} went to {unit.task} instead"
            out.append(self.end(standing, "overridden", unit.id, now_ms, note))
        reason = f"{unit.id} went there by itself."
        own = fixed(record.task, unit.id, OWN_CHOICE, unit.id, now_ms, reason)
        return [*out, self.open(own, pinned=True)]

    def _next(
        self, advice: AdviceRecord, state: AllocationState, by: str, now_ms: int, note: str
    ) -> Allocation:
        last = advice.allocation
        advice.allocation = msgspec.structs.replace(
            last, version=last.version + 1, state=state, decided_by=by, decided_at=now_ms, note=note
        )
        self._store.advices.touch(last.id)
        return advice.allocation


def fixed(
    task: Task, unit: str, policy: str, by: str, now_ms: int, reason: str, note: str = ""
) -> Allocation:
    """Return version 1 of an allocation that was decided without the planner."""
    return Allocation(
        id=f"{task.id}/{unit}/{now_ms}",
        version=1,
        state="accepted",
        policy=policy,
        task=task.id,
        unit=unit,
        area=task.area,
        priority=task.priority,
        proposed_at=now_ms,
        arrival_at=now_ms,
        route=[],
        reason=reason,
        alternatives=[],
        decided_by=by,
        decided_at=now_ms,
        note=note,
    )
