"""The dispatcher: events in, versions of allocations out; plans every few seconds.

Pure and deterministic: the clock is a parameter, the same events in the same order give the same
allocations with the same ids. Life of an allocation: docs/allocation.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.roads import Places, RoadGraph, RoadSpeeds
from civicstream.service_events import Action, Allocation, Task, Unit
from streams.dispatch.allocation.decisions import AllocationDecisions
from streams.dispatch.allocation.policies import POLICIES, REVISING
from streams.dispatch.allocation.proposing import propose
from streams.dispatch.allocation.rounds import place_tasks, prepare
from streams.dispatch.allocation.settings import DispatchSettings
from streams.dispatch.allocation.store import AllocationStore, Refusal, TaskRecord, UnitRecord
from streams.dispatch.allocation.versions import AllocationVersions, Ended

__all__ = ["Dispatcher"]

Floats = NDArray[np.float64]
Out = list[Allocation | Refusal]

URGENT = 1


class Dispatcher:
    """Knows units, tasks, standing allocations and the speeds on the roads."""

    def __init__(
        self,
        city: City,
        settings: DispatchSettings | None = None,
        graph: RoadGraph | None = None,
    ) -> None:
        """Raise ConfigurationError for a policy that does not exist."""
        self.settings = settings or DispatchSettings()
        if self.settings.policy not in POLICIES:
            raise ConfigurationError(
                f"allocation.policy {self.settings.policy!r} does not exist; "
                f"use one of {', '.join(POLICIES)}"
            )
        self.graph = graph or RoadGraph(city)
        self.speeds = RoadSpeeds.free_flow(self.graph)
        self.store = AllocationStore()
        self._versions = AllocationVersions(self.store, self.settings)
        self._decisions = AllocationDecisions(self.store, self._versions, self.settings)
        self._places: dict[str, Places] = {}
        self._planned_at: int | None = None
        self._urgent = False
        self._news = False
        """Whether anything has happened that a plan could answer."""

    def apply_speeds(self, now_kmh: Floats, ahead_kmh: Mapping[int, Floats]) -> None:
        """Take present speeds [segments] and forecasts by minutes ahead; NaN where unknown."""
        self.take_speeds(RoadSpeeds.of(self.graph, now_kmh, ahead_kmh))

    def take_speeds(self, speeds: RoadSpeeds) -> None:
        """Plan with these from now on."""
        self.speeds = speeds
        self._news = True

    def apply(self, event: Unit | Task | Action, now_ms: int) -> Out:
        """Take an event in and return what it changes at once."""
        if isinstance(event, Unit):
            return self._apply_unit(event, now_ms)
        if isinstance(event, Task):
            self._apply_task(event)
            return []
        self._news = True
        return self._decisions.apply(event, now_ms)

    def close_task(self, task: str, now_ms: int) -> Out:
        """Forget a task that is no longer open; its standing allocation ends with it."""
        record = self.store.tasks.get(task)
        if record is None:
            return []
        advice = self.store.advice_of(task)
        out: Out = []
        if advice is not None:
            ended: Ended = "completed" if record.started_at is not None else "withdrawn"
            out.append(self._versions.end(advice, ended, "system", now_ms, "the task was closed"))
        del self.store.tasks[task]
        self._places.pop(task, None)
        self._news = True
        return out

    def tick(self, now_ms: int) -> Out:
        """Plan if it is time to, or at once when an urgent task has come; else return nothing."""
        since_ms = None if self._planned_at is None else now_ms - self._planned_at
        due = since_ms is None or since_ms >= self.settings.plan_every_s * 1000
        if not (self._urgent or due):
            return []
        out = self._versions.expire(now_ms)
        # Time alone brings something too: a bar ends, a unit is about to be free.
        quiet = since_ms is not None and since_ms < self.settings.plan_at_least_every_s * 1000
        if quiet and not (self._news or self._urgent or out):
            return out
        return out + self.plan(now_ms)

    def plan(self, now_ms: int) -> Out:
        """Match open tasks and units now, and return the allocations that this changes."""
        self._planned_at, self._urgent, self._news = now_ms, False, False
        self._locate()
        round_ = prepare(
            self.store,
            self.speeds,
            self._places,
            now_ms,
            self.settings,
            reconsiders=self.settings.policy in REVISING,
        )
        if not round_.tasks:
            return []
        plan = POLICIES[self.settings.policy](round_.problem, self.settings)
        return propose(self.store, self._versions, self.graph, round_, plan, now_ms, self.settings)

    def changed(self) -> dict[str, bytes | None]:
        """Return the state's items changed since the last call; None for those to be deleted."""
        return self.store.changed()

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from the items of ``changed``; speeds come from the network again."""
        self.store.restore(items)
        self._news = True

    def _locate(self) -> None:
        """Put the tasks that are new on the graph, all at once."""
        new = [r.task for id_, r in self.store.tasks.items() if id_ not in self._places]
        if new:
            places = place_tasks(self.graph, new)
            self._places |= {t.id: places.take([i]) for i, t in enumerate(new)}

    def _apply_task(self, task: Task) -> None:
        record = self.store.tasks.get(task.id)
        if record is None:
            self.store.tasks[task.id] = TaskRecord(task)
            self._urgent |= task.priority == URGENT
        elif record.task == task:
            return
        else:
            self._urgent |= task.priority == URGENT < record.task.priority
            record.task = task
            self._places.pop(task.id, None)
        self.store.tasks.touch(task.id)
        self._news = True

    def _apply_unit(self, unit: Unit, now_ms: int) -> Out:
        record = self.store.units.get(unit.id)
        if record is None:
            record = self.store.units[unit.id] = UnitRecord(unit)
            self._news = True
        elif unit.at < record.unit.at:
            return []
        before, record.unit = record.unit, unit
        if unit.state != before.state or unit.task != before.task:
            self._news = True
        self.store.units.touch(unit.id)
        return self._versions.follow(record, before, now_ms)
