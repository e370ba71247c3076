"""The state of the demand as items by key, and which of them changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.dispatch.demand.arrivals import ArrivalModel
from streams.dispatch.demand.model_state import dump_learned, put_learned
from streams.dispatch.demand.shifts import UnitsOnShift
from streams.dispatch.demand.tasks import OpenTask
from streams.runtime.state_items import dump, load, unknown_item

__all__ = ["Clock", "DemandStore", "Present", "Restored"]

_CLOCK = "clock"


class Clock(msgspec.Struct, array_like=True):
    """The areas in the order of all arrays, and how far time has come."""

    areas: list[str]
    minute: int
    hour: int | None


class Present(msgspec.Struct, array_like=True):
    """Of one service, by area: what came in the present hour, and what was published last."""

    came: list[float]
    published_at: list[int]
    published_open: list[float]


@dataclass
class Restored:
    """What items say, except what the model learned."""

    areas: list[str] = field(default_factory=list)
    minute: int = 0
    hour: int | None = None
    now: dict[int, Present] = field(default_factory=dict)
    tasks: dict[str, OpenTask] = field(default_factory=dict)


class DemandStore:
    """Keys: ``clock``, ``now/<service>``, ``learned/<service>``, ``task/<key>``, ``unit/<id>``."""

    def __init__(self, services: list[str]) -> None:
        self._services = services
        self._codes = {code: i for i, code in enumerate(services)}
        self._tasks: dict[str, OpenTask | None] = {}
        self._now: set[int] = set()
        self._learned = False
        self._clock = False

    def open_task(self, key: str, task: OpenTask) -> None:
        self._tasks[key] = task

    def close_task(self, key: str) -> None:
        self._tasks[key] = None

    def touch_now(self, *services: int) -> None:
        self._now.update(services)

    def touch_learned(self) -> None:
        """Note that an hour was closed: everything of every service changed."""
        self._learned = True
        self._now.update(range(len(self._services)))

    def touch_clock(self) -> None:
        self._clock = True

    def changed(
        self,
        model: ArrivalModel,
        units: UnitsOnShift,
        now: Mapping[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]],
        clock: tuple[list[str], int, int | None],
    ) -> dict[str, bytes | None]:
        """Return the items that changed since the last call; None: drop that key."""
        items: dict[str, bytes | None] = {}
        if self._clock:
            items[_CLOCK] = dump(Clock(*clock))
        for service in sorted(self._now):
            present = Present(*(column.tolist() for column in now[service]))
            items[f"now/{self._services[service]}"] = dump(present)
        if self._learned:
            for service, code in enumerate(self._services):
                items[f"learned/{code}"] = dump_learned(model, service)
        for key, task in sorted(self._tasks.items()):
            items[f"task/{key}"] = None if task is None else dump(task)
        items |= units.records.changed()
        self.forget_changes()
        return items

    def forget_changes(self) -> None:
        self._tasks.clear()
        self._now.clear()
        self._learned = self._clock = False

    def read(self, items: Mapping[str, bytes], units: UnitsOnShift) -> Restored:
        """Put units back and return the rest; DataError for others, by key."""
        state = Restored()
        for key, data in items.items():
            name, _, rest = key.partition("/")
            match name:
                case "clock":
                    clock = load("demand", key, data, Clock)
                    state.areas, state.minute, state.hour = clock.areas, clock.minute, clock.hour
                case "now":
                    if rest in self._codes:
                        state.now[self._codes[rest]] = load("demand", key, data, Present)
                case "task":
                    state.tasks[rest] = load("demand", key, data, OpenTask)
                case "unit":
                    units.records.take_up("demand", key, data)
                case "learned":
                    pass
                case _:
                    raise unknown_item("demand", key)
        return state

    def put_learned(
        self, model: ArrivalModel, items: Mapping[str, bytes], rows: NDArray[np.intp]
    ) -> None:
        """Put back what the model learned; ``rows`` are those of the areas of the clock."""
        for service, code in enumerate(self._services):
            data = items.get(f"learned/{code}")
            if data is None:
                continue
            put_learned(model, service, f"learned/{code}", data, rows)
