"""Ways to decide who goes where, behind one interface; two of them are what cities do today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streams.dispatch.allocation.assignment import assign
from streams.dispatch.allocation.problem import NEVER, Problem, RoundPlan, costs
from streams.dispatch.allocation.settings import DispatchSettings

__all__ = ["POLICIES", "REVISING", "Policy", "optimal"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

Policy = Callable[[Problem, DispatchSettings], RoundPlan]

URGENT = 1


def optimal(problem: Problem, settings: DispatchSettings) -> RoundPlan:
    """Return the plan of least priority-weighted waiting and lateness.

    Standing advices are kept unless giving them up saves the margin. A task that has a unit loses
    it without another in its place only to an urgent task.
    """
    cost, unassigned = costs(problem, settings)
    standing = np.flatnonzero(problem.current >= 0)
    held = problem.current[standing]
    margin = np.where(problem.accepted[standing], settings.margin_min, settings.proposed_margin_min)
    with_margin = cost.copy()
    with_margin[standing, held] -= margin * problem.weight[standing]
    leave = unassigned.copy()
    # Each round frees no advice and fixes at least one, so there are no more than advices.
    for _ in range(len(standing) + 1):
        planned = assign(with_margin, leave)
        robbed = _robbed(problem, planned)
        if not len(robbed):
            break
        with_margin[robbed, problem.current[robbed]] -= NEVER
    return RoundPlan(_those_free(problem, planned), planned, cost, unassigned, optimal=True)


def _robbed(problem: Problem, planned: Indices) -> Indices:
    """Return the tasks that would lose their unit without another, and not to an urgent one."""
    now = _those_free(problem, planned)
    lost = np.flatnonzero((problem.current >= 0) & (now < 0))
    taken_by = {int(unit): task for task, unit in enumerate(planned.tolist()) if unit >= 0}
    return np.array(
        [
            task
            for task in lost.tolist()
            if np.isfinite(problem.travel_min[task, problem.current[task]])
            and not _urgent(problem, taken_by.get(int(problem.current[task])), task)
        ],
        np.intp,
    )


def _urgent(problem: Problem, taker: int | None, loser: int) -> bool:
    return (
        taker is not None
        and int(problem.priority[taker]) == URGENT
        and int(problem.priority[loser]) > URGENT
    )


def _those_free(problem: Problem, planned: Indices) -> Indices:
    free = np.append(problem.free_now, False)
    chosen: Indices = np.where(free[planned], planned, -1)
    return chosen


def _in_order(problem: Problem, settings: DispatchSettings, order: Indices) -> RoundPlan:
    """Return the plan that gives each task in turn its nearest free unit and keeps all others."""
    now = replace(problem, allowed=problem.allowed & problem.free_now[None])
    cost, unassigned = costs(now, replace(settings, time_price=0.0))
    arrival = now.arrival_min
    chosen = problem.current.copy()
    free = np.ones(arrival.shape[1], np.bool_)
    free[chosen[chosen >= 0]] = False
    for task in order[chosen[order] < 0].tolist():
        reachable = np.where(free, arrival[task], np.inf)
        if reachable.size and np.isfinite(reachable.min()):
            chosen[task] = reachable.argmin()
            free[chosen[task]] = False
    return RoundPlan(chosen, chosen, cost, unassigned, optimal=False)


def nearest_unit(problem: Problem, settings: DispatchSettings) -> RoundPlan:
    """Return the plan of human dispatchers: by priority, then by age, the nearest free unit."""
    return _in_order(problem, settings, np.lexsort((problem.opened, problem.priority)))


def first_come_first_served(problem: Problem, settings: DispatchSettings) -> RoundPlan:
    """Return the plan that serves tasks in the order they came, each with its nearest free unit."""
    return _in_order(problem, settings, np.argsort(problem.opened, kind="stable"))


POLICIES: dict[str, Policy] = {
    "optimal": optimal,
    "nearest_unit": nearest_unit,
    "first_come_first_served": first_come_first_served,
}

REVISING = frozenset({"optimal"})
"""Those that look again at advices that stand; for the others, they only cost a search."""
