"""One round of planning made of the store: which tasks, which units, and the ways between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.roads import Places, RoadGraph, RoadSpeeds, Trips, find_trips
from civicstream.service_events import Task
from streams.dispatch.allocation.problem import Problem
from streams.dispatch.allocation.settings import DispatchSettings
from streams.dispatch.allocation.store import AllocationStore, TaskRecord, UnitRecord

__all__ = ["Round", "place_tasks", "prepare", "target_at"]

_STILL_LEFT = 0.15
"""A unit that works longer than usual is expected to need this share of the usual time more."""


@dataclass(frozen=True)
class Round:
    """The problem with the names of its rows and columns, and the ways it was made from."""

    tasks: list[str]
    units: list[str]
    problem: Problem
    trips: Trips


def target_at(task: Task, settings: DispatchSettings) -> int:
    """Return when a unit is to be there [ms]: by priority, and early enough for ``due_at``."""
    return min(task.due_at, task.opened_at + round(settings.target_min[task.priority] * 60_000))


def place_tasks(graph: RoadGraph, tasks: list[Task]) -> Places:
    """Return the tasks' places: on the segment that one names, else on the nearest."""
    places = graph.snap(np.array([[t.lon, t.lat] for t in tasks]).reshape(-1, 2))
    index = np.array([graph.city.segment_index.get(t.segment or "", -1) for t in tasks], np.intp)
    named = np.flatnonzero(index >= 0)
    on = graph.on_segment(index[named], np.full(len(named), 0.5))
    places.edge[named], places.share[named], places.access_s[named] = on.edge, on.share, 0.0
    return places


def prepare(
    store: AllocationStore,
    speeds: RoadSpeeds,
    places: dict[str, Places],
    now_ms: int,
    settings: DispatchSettings,
    *,
    reconsiders: bool,
) -> Round:
    """Return this round; ``places`` holds the tasks' places by id.

    Without ``reconsiders`` only tasks and units without a standing advice take part.
    """
    tasks = [t for t in sorted(store.tasks) if _is_open(store, store.tasks[t], now_ms)]
    units = [u for u in sorted(store.units) if _is_on_duty(store.units[u], now_ms)]
    if not reconsiders:
        tasks = [t for t in tasks if store.advice_of(t) is None]
        units = [
            u
            for u in units
            if u not in store.advice_by_unit and store.units[u].unit.state != "on_site"
        ]
    # A unit that cannot take any of the tasks would only cost a search.
    wanted = {store.tasks[t].task.skill for t in tasks}
    able = [u for u in units if not wanted.isdisjoint(store.units[u].unit.skills)]
    free_in = {u: _free_in_min(store, store.units[u], now_ms, settings) for u in able}
    units = [u for u in able if free_in[u] < np.inf]
    trips = find_trips(
        speeds,
        speeds.graph.snap(
            np.array([[r.lon, r.lat] for r in (store.units[u].unit for u in units)]).reshape(-1, 2)
        ),
        Places.joined([places[t] for t in tasks]),
    )
    return Round(tasks, units, _problem(store, tasks, units, trips, now_ms, settings), trips)


def _is_open(store: AllocationStore, record: TaskRecord, now_ms: int) -> bool:
    advice = store.advice_of(record.task.id)
    return (
        not record.done
        and record.started_at is None
        and record.barred_until <= now_ms
        and not (advice is not None and advice.pinned)
    )


def _is_on_duty(record: UnitRecord, now_ms: int) -> bool:
    unit = record.unit
    return unit.state != "off_duty" and unit.shift_end > now_ms and record.barred_until <= now_ms


def _problem(
    store: AllocationStore,
    tasks: list[str],
    units: list[str],
    trips: Trips,
    now_ms: int,
    settings: DispatchSettings,
) -> Problem:
    task_records = [store.tasks[t] for t in tasks]
    records = [store.units[u] for u in units]
    skills = sorted({r.task.skill for r in task_records})
    number = {name: i for i, name in enumerate(skills)}
    has_skill = np.array([[s in r.unit.skills for s in skills] for r in records], np.bool_).reshape(
        len(units), len(skills)
    )
    skill = np.array([number[r.task.skill] for r in task_records], np.intp)
    work = np.array([r.task.work_s / 60 for r in task_records], np.float64)
    travel = trips.seconds.T / 60
    free_in = np.array([_free_in_min(store, r, now_ms, settings) for r in records], np.float64)
    shift = np.array([(r.unit.shift_end - now_ms) / 60_000 for r in records], np.float64)
    room = np.array([r.unit.capacity - r.unit.load for r in records], np.float64)
    demand = np.array([r.task.demand for r in task_records], np.float64)
    fits = (free_in + travel + work[:, None] <= shift) & (demand[:, None] <= room)
    allowed = has_skill.T[skill] & fits & np.isfinite(travel) & np.isfinite(free_in)
    current, accepted = _apply_standing(store, tasks, units, allowed, np.isfinite(travel), now_ms)
    weights = settings.priority_weight
    return Problem(
        allowed=allowed,
        travel_min=travel,
        free_in_min=free_in,
        free_now=free_in == 0,
        priority=np.array([r.task.priority for r in task_records], np.intp),
        weight=np.array(
            [weights[r.task.priority] * max(r.task.weight, 0.1) for r in task_records], np.float64
        ),
        due_in_min=np.array(
            [(target_at(r.task, settings) - now_ms) / 60_000 for r in task_records], np.float64
        ),
        opened=np.array([r.task.opened_at for r in task_records], np.int64),
        work_min=work,
        skill=skill,
        has_skill=has_skill,
        current=current,
        accepted=accepted,
    )


def _apply_standing(
    store: AllocationStore,
    tasks: list[str],
    units: list[str],
    allowed: NDArray[np.bool_],
    reachable: NDArray[np.bool_],
    now_ms: int,
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return each task's unit (-1) and whether it accepted; put bars into ``allowed`` [t, u]."""
    column = {u: i for i, u in enumerate(units)}
    current = np.full(len(tasks), -1, np.intp)
    accepted = np.zeros(len(tasks), np.bool_)
    for row, id_ in enumerate(tasks):
        for unit, until in store.tasks[id_].barred.items():
            if until > now_ms and unit in column:
                allowed[row, column[unit]] = False
        advice = store.advice_of(id_)
        if advice is None:
            continue
        current[row] = held = column.get(advice.allocation.unit, -1)
        accepted[row] = advice.allocation.state == "accepted"
        if accepted[row] and held >= 0:
            # On its way already: a jam does not make it too late for its shift.
            allowed[row, held] |= reachable[row, held]
    return current, accepted


def _free_in_min(
    store: AllocationStore, record: UnitRecord, now_ms: int, settings: DispatchSettings
) -> float:
    """Return minutes until the unit can set off, infinite where that is not to be waited for."""
    advice = store.advice_for_unit(record.unit.id)
    if advice is not None and advice.pinned and record.on_site_since is None:
        return float("inf")
    if record.unit.state != "on_site":
        return 0.0
    task = store.tasks.get(record.unit.task or "")
    if task is None or record.on_site_since is None:
        return float("inf")
    work = task.task.work_s / 60
    spent = (now_ms - record.on_site_since) / 60_000
    left = max(work - spent, _STILL_LEFT * work) + settings.free_safety_min
    return left if left <= settings.look_ahead_min else float("inf")
