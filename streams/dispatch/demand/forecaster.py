"""The demand of every area and service: tasks open now, tasks to come, and who can do them.

Pure and deterministic: the same state and the same events give the same demand.
docs/allocation.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.service_events import Demand, Unit
from civicstream.services import ServiceType
from streams.dispatch.demand.arrivals import ArrivalModel, Expected
from streams.dispatch.demand.capacity import capacity_per_h
from streams.dispatch.demand.needs import all_needs
from streams.dispatch.demand.shifts import UnitsOnShift, distances_km, skill_matrix
from streams.dispatch.demand.sources import SourceEvent, read_task, task_key
from streams.dispatch.demand.store import DemandStore
from streams.dispatch.demand.tasks import OpenTasks, Totals

__all__ = ["DemandEvent", "DemandForecaster"]

Floats = NDArray[np.float64]

DemandEvent = SourceEvent | Unit
"""Events that it takes in."""

_MINUTE_MS = 60_000
_AGAIN_MS = 15 * _MINUTE_MS
_PRESSURE_H = 4
"""Hours of expected arrivals that the pressure looks at: half a shift."""
_SOME = 0.05
"""Tasks expected in those hours; where less is expected and nothing open, there is no news."""


def _universal_time(_: int) -> int:
    return 0


class DemandForecaster:
    """All areas and services of a city. Unknown areas enter with their first event."""

    def __init__(
        self,
        services: Mapping[str, ServiceType],
        city: City,
        offset_ms: Callable[[int], int] = _universal_time,
    ) -> None:
        """``offset_ms`` tells local time minus UTC at a time [ms]: days are lived by it."""
        self._needs = all_needs(services)
        self._codes = {need.code: i for i, need in enumerate(self._needs)}
        self._skills = [need.skill for need in self._needs]
        self._work_h = np.array([need.work_min / 60 for need in self._needs])
        self._middles = {area.id: np.mean(area.outline[:-1], axis=0) for area in city.areas}
        self._offset_ms = offset_ms
        self._areas: list[str] = []
        self._area_codes: dict[str, int] = {}
        self._tasks = OpenTasks()
        self._units = UnitsOnShift()
        self._model = ArrivalModel(0, len(self._needs))
        self._published_at = np.zeros((0, len(self._needs)), np.int64)
        self._published_open = np.zeros((0, len(self._needs)))
        self._minute = 0
        self._store = DemandStore([need.code for need in self._needs])
        for area in city.areas:
            self._area(area.id)

    def apply(self, event: DemandEvent, now_ms: int) -> list[Demand]:
        """Take an event in, and return the demand that is news at this time.

        An event that came before changes nothing; one of an unknown service is left out.
        """
        due = self.tick(now_ms)
        if isinstance(event, Unit):
            self._units.take(event)
            return due
        key = task_key(event)
        read = read_task(event, key in self._tasks, now_ms)
        if read is None:
            return due
        if read.task is None or read.task.service not in self._codes:
            if self._tasks.close(key):
                self._store.close_task(key)
            return due
        area, service = self._area(read.task.area), self._codes[read.task.service]
        if read.arises and key not in self._tasks:
            self._model.count(area, service)
            self._store.touch_now(service)
        self._tasks.put(key, read.task, area, service)
        self._store.open_task(key, read.task)
        return due

    def _area(self, name: str) -> int:
        code = self._area_codes.get(name)
        if code is None:
            code = self._area_codes[name] = len(self._areas)
            self._areas.append(name)
            self._model.grow(len(self._areas))
            self._published_at = np.pad(self._published_at, ((0, 1), (0, 0)))
            self._published_open = np.pad(self._published_open, ((0, 1), (0, 0)))
            self._store.touch_clock()
        return code

    def tick(self, now_ms: int) -> list[Demand]:
        """Return the demand that is news, at most once a minute: nothing within the same one.

        News is where the number of open tasks changed, and every quarter of an hour what is not
        zero.
        """
        minute = now_ms // _MINUTE_MS
        if minute <= self._minute:
            return []
        self._minute = minute
        self._store.touch_clock()
        offset = self._offset_ms(now_ms)
        if self._model.advance(now_ms, offset):
            self._store.touch_learned()
            self._units.forget_silent(now_ms)
        shape = (len(self._areas), len(self._needs))
        totals = self._tasks.totals(*shape, now_ms)
        expected = self._model.expect(now_ms, offset)
        soon = totals.number + expected.mean[:, :, :_PRESSURE_H].sum(axis=2)
        anything = (soon > _SOME) | (self._published_open > 0)
        again = anything & (now_ms - self._published_at >= _AGAIN_MS)
        areas, services = np.nonzero((totals.number != self._published_open) | again)
        if not len(areas):
            return []
        capacity = self._capacity(soon, now_ms)
        self._published_at[areas, services] = now_ms
        self._published_open[areas, services] = totals.number[areas, services]
        self._store.touch_now(*np.unique(services).tolist())
        return [
            self._event(a, s, now_ms, totals, expected, soon, capacity)
            for a, s in zip(areas.tolist(), services.tolist(), strict=True)
        ]

    def _capacity(self, tasks: Floats, now_ms: int) -> Floats:
        units = self._units.on_shift(now_ms)
        nowhere = np.full(2, np.nan)
        middles = np.array([self._middles.get(a, nowhere) for a in self._areas]).reshape(-1, 2)
        has_skill = skill_matrix(units, self._skills)
        return capacity_per_h(distances_km(units, middles), has_skill, tasks, self._work_h)

    def _event(
        self,
        a: int,
        s: int,
        now_ms: int,
        totals: Totals,
        expected: Expected,
        soon: Floats,
        capacity: Floats,
    ) -> Demand:
        per_h = float(capacity[a, s])
        return Demand(
            area=self._areas[a],
            service=self._needs[s].code,
            at=now_ms,
            open_tasks=int(totals.number[a, s]),
            weighted=round(float(totals.weighted[a, s]), 4),
            arrivals_per_h=round(float(expected.per_h[a, s]), 4),
            expected=np.round(expected.mean[a, s], 4).tolist(),
            expected_low=expected.low[a, s].tolist(),
            expected_high=expected.high[a, s].tolist(),
            capacity_per_h=round(per_h, 4),
            pressure=round(float(soon[a, s]) / (_PRESSURE_H * per_h), 4) if per_h > 0 else None,
        )

    def changed(self) -> dict[str, bytes | None]:
        """Return the items of state that changed since the last call; None: drop that key."""
        now = {
            s: (self._model.now[:, s], self._published_at[:, s], self._published_open[:, s])
            for s in range(len(self._needs))
        }
        clock = (self._areas, self._minute, self._model.hour)
        return self._store.changed(self._model, self._units, now, clock)

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave so far, into one that is new.

        Services that are no more are left out. Raises DataError, naming the key, for what is
        none of its state.
        """
        state = self._store.read(items, self._units)
        rows = np.array([self._area(area) for area in state.areas], np.intp)
        self._minute, self._model.hour = state.minute, state.hour
        for service, now in state.now.items():
            here = rows[: len(now.came)]
            self._model.now[here, service] = now.came
            self._published_at[here, service] = now.published_at
            self._published_open[here, service] = now.published_open
        self._store.put_learned(self._model, items, rows)
        for key, task in state.tasks.items():
            if task.service in self._codes:
                self._tasks.put(key, task, self._area(task.area), self._codes[task.service])
        self._store.forget_changes()
