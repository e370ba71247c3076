"""What the dispatcher knows, record by record, and which records have changed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from civicstream.service_events import Allocation, Task, Unit
from streams.runtime.state_items import StateStore

__all__ = ["AdviceRecord", "AllocationStore", "Refusal", "TaskRecord", "UnitRecord"]


class Refusal(msgspec.Struct, frozen=True):
    """A decision that could not be carried out, and why; nothing was changed."""

    subject: str
    action: str
    by: str
    area: str
    at: int
    reason: str


class UnitRecord(msgspec.Struct):
    """A unit as it last reported; times in ms."""

    unit: Unit
    on_site_since: int | None = None
    barred_until: int = 0
    """Unavailable until then, as it reported."""


class TaskRecord(msgspec.Struct):
    """An open task and what is being done about it."""

    task: Task
    advice: str | None = None
    """Id of the standing allocation."""
    started_at: int | None = None
    """When a unit came on site."""
    done: bool = False
    """A unit has left it after its work; it waits to be closed."""
    barred_until: int = 0
    barred: dict[str, int] = {}
    """Units not to be sent here, until when."""


class AdviceRecord(msgspec.Struct):
    """The newest version of a standing allocation."""

    allocation: Allocation
    pinned: bool = False
    """Decided by hand: the planner leaves it alone."""
    since: int = 0
    """When it was first proposed."""


class AllocationStore:
    """Tables by id. Whoever changes a record in place touches its id, that it is written down."""

    def __init__(self) -> None:
        self._items = StateStore("allocation")
        self.units = self._items.table("unit", UnitRecord, str)
        self.tasks = self._items.table("task", TaskRecord, str)
        self.advices = self._items.table("allocation", AdviceRecord, str)
        self.advice_by_unit: dict[str, str] = {}
        """Id of the standing allocation of each unit that has one."""

    def changed(self) -> dict[str, bytes | None]:
        """Return the records changed since the last call, None for those removed."""
        return self._items.changed()

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Put back what ``changed`` returned, all of it; raise DataError for foreign bytes."""
        self._items.restore(items)
        self.advice_by_unit = {a.allocation.unit: id_ for id_, a in self.advices.items()}

    def advice_of(self, task: str) -> AdviceRecord | None:
        record = self.tasks.get(task)
        if record is None or record.advice is None:
            return None
        return self.advices.get(record.advice)

    def advice_for_unit(self, unit: str) -> AdviceRecord | None:
        id_ = self.advice_by_unit.get(unit)
        return None if id_ is None else self.advices[id_]
