"""What the dispatcher knows, record by record, and which records have changed."""

from __future__ import annotations

from typing import Any

import msgspec

from civicstream.errors import DataError
from civicstream.service_events import Allocation, Task, Unit

__all__ = ["AdviceRecord", "Book", "Refusal", "TaskRecord", "UnitRecord"]


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
    """Not to be asked before then, by its own word."""


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


Record = UnitRecord | TaskRecord | AdviceRecord

_TYPES: dict[str, type[Record]] = {
    "unit": UnitRecord,
    "task": TaskRecord,
    "allocation": AdviceRecord,
}


class Book:
    """Tables by id. Whoever changes a record says so, that it can be written down."""

    def __init__(self) -> None:
        self.units: dict[str, UnitRecord] = {}
        self.tasks: dict[str, TaskRecord] = {}
        self.advices: dict[str, AdviceRecord] = {}
        self.advice_by_unit: dict[str, str] = {}
        """Id of the standing allocation of each unit that has one."""
        self._touched: dict[str, None] = {}

    def touch(self, kind: str, id_: str) -> None:
        self._touched[f"{kind}/{id_}"] = None

    def changed(self) -> dict[str, bytes | None]:
        """Return the records changed since the last call as JSON, None for those removed."""
        found: dict[str, bytes | None] = {}
        for key in self._touched:
            kind, _, id_ = key.partition("/")
            record = self._table(kind).get(id_)
            found[key] = None if record is None else msgspec.json.encode(record)
        self._touched.clear()
        return found

    def restore(self, items: dict[str, bytes]) -> None:
        """Put back what ``changed`` returned, all of it; raise DataError for foreign bytes."""
        for key, data in sorted(items.items()):
            kind, _, id_ = key.partition("/")
            if kind not in _TYPES:
                raise DataError(
                    "state_key", f"allocation state: key {key!r} is of no kind known here"
                )
            try:
                record = msgspec.json.decode(data, type=_TYPES[kind])
            except msgspec.DecodeError as error:
                raise DataError(
                    "state_value", f"allocation state: {key!r} cannot be read: {error}"
                ) from error
            self._table(kind)[id_] = record
        self.advice_by_unit = {a.allocation.unit: id_ for id_, a in self.advices.items()}

    def advice_of(self, task: str) -> AdviceRecord | None:
        record = self.tasks.get(task)
        if record is None or record.advice is None:
            return None
        return self.advices.get(record.advice)

    def advice_for_unit(self, unit: str) -> AdviceRecord | None:
        id_ = self.advice_by_unit.get(unit)
        return None if id_ is None else self.advices[id_]

    def _table(self, kind: str) -> dict[str, Any]:
        tables: dict[str, dict[str, Any]] = {
            "unit": self.units,
            "task": self.tasks,
            "allocation": self.advices,
        }
        return tables[kind]
