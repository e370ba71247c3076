"""The standing allocations and their versions: made, accepted, ended; and what units do of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from civicstream.service_events import Allocation, AllocationState, Unit
from streams.allocation.settings import DispatchSettings
from streams.allocation.state import AdviceRecord, Book, Refusal, UnitRecord

__all__ = ["AdviceLedger", "Ended"]

Ended = Literal["rejected", "overridden", "withdrawn", "completed"]


class AdviceLedger:
    """Writes the book's allocations; every change is a new version."""

    def __init__(self, book: Book, settings: DispatchSettings) -> None:
        self._book = book
        self._settings = settings

    def open(self, allocation: Allocation, *, pinned: bool = False) -> Allocation:
        """Let version 1 of an allocation stand."""
        record = self._book.tasks[allocation.task]
        record.advice = allocation.id
        self._book.advices[allocation.id] = AdviceRecord(
            allocation, pinned, since=allocation.proposed_at
        )
        self._book.advice_by_unit[allocation.unit] = allocation.id
        self._book.touch("task", allocation.task)
        self._book.touch("allocation", allocation.id)
        return allocation

    def accept(self, advice: AdviceRecord, by: str, now_ms: int, note: str) -> Allocation:
        return self._next(advice, "accepted", by, now_ms, note)

    def end(
        self, advice: AdviceRecord, state: Ended, by: str, now_ms: int, note: str
    ) -> Allocation:
        """Return the last version and forget the allocation; its task is open again."""
        last = self._next(advice, state, by, now_ms, note)
        del self._book.advices[last.id]
        if self._book.advice_by_unit.get(last.unit) == last.id:
            del self._book.advice_by_unit[last.unit]
        record = self._book.tasks.get(last.task)
        if record is not None and record.advice == last.id:
            record.advice = None
            record.started_at = None
            self._book.touch("task", last.task)
        return last

    def bar(self, task: str, unit: str, until_ms: int) -> None:
        """Send the unit to this task no more before then."""
        record = self._book.tasks[task]
        record.barred = {**record.barred, unit: until_ms}
        self._book.touch("task", task)

    def expire(self, now_ms: int) -> list[Allocation | Refusal]:
        """End the proposals that nobody has answered in time."""
        patience_ms = self._settings.answer_within_s * 1000
        out: list[Allocation | Refusal] = []
        for advice in list(self._book.advices.values()):
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
        advice = self._book.advice_for_unit(unit.id)
        if advice is None:
            return []
        task = self._book.tasks[advice.allocation.task]
        if unit.task == advice.allocation.task and unit.state in {
            "assigned",
            "en_route",
            "on_site",
        }:
            if unit.state == "on_site" and task.started_at is None:
                task.started_at = unit.at
                self._book.touch("task", task.task.id)
            if advice.allocation.state == "proposed":
                return [self.accept(advice, unit.id, now_ms, "the unit went")]
            return []
        if was_on_site and task.started_at is not None:
            task.done = True
            return [self.end(advice, "completed", unit.id, now_ms, "the unit has left the site")]
        if unit.state == "off_duty":
            return [self.end(advice, "withdrawn", unit.id, now_ms, "the unit went off duty")]
        return []

    def _next(
        self, advice: AdviceRecord, state: AllocationState, by: str, now_ms: int, note: str
    ) -> Allocation:
        last = advice.allocation
        advice.allocation = msgspec.structs.replace(
            last, version=last.version + 1, state=state, decided_by=by, decided_at=now_ms, note=note
        )
        self._book.touch("allocation", last.id)
        return advice.allocation
