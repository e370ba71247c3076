"""One round of matching as arrays: t tasks by u units, times in minutes from now."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from streams.dispatch.allocation.settings import DispatchSettings

__all__ = ["Problem", "RoundPlan", "costs", "time_prices"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]

NEVER = 1e6
"""Cost of what may be broken only by force; finite, so that the assignment stays solvable."""


@dataclass(frozen=True)
class Problem:
    """Rows are tasks that no unit is on site of, columns units on duty."""

    allowed: Flags
    """[t, u] skills, shift and capacity fit, and nobody has rejected it."""
    travel_min: Floats
    """[t, u] driving only."""
    free_in_min: Floats
    """[u] until the unit can set off: 0, or what is left to do on site."""
    free_now: Flags
    """[u] neither on site nor bound to a task by hand."""
    priority: Indices
    weight: Floats
    """[t] what a minute counts: of the priority, times the task's own."""
    due_in_min: Floats
    """[t] until the target; below 0 it is missed."""
    opened: NDArray[np.int64]
    """[t] ms."""
    work_min: Floats
    skill: Indices
    """[t] number of the skill."""
    has_skill: Flags
    """[u, skills]"""
    current: Indices
    """[t] the unit of the standing advice, -1 for none."""
    accepted: Flags
    """[t] whether that advice is more than a proposal."""

    @cached_property
    def arrival_min(self) -> Floats:
        """[t, u] minutes until the unit can be there, infinite where it may not be sent."""
        arrival: Floats = np.where(self.allowed, self.free_in_min + self.travel_min, np.inf)
        return arrival


@dataclass(frozen=True)
class RoundPlan:
    """``unit`` [t]: the unit to be sent now, -1 for none; ``planned`` also those not yet free."""

    unit: Indices
    planned: Indices
    cost: Floats
    """[t, u] priority-weighted minutes."""
    unassigned: Floats
    """[t]"""
    optimal: bool
    """Whether the plan minimises the sum of ``cost``."""


def time_prices(problem: Problem) -> Floats:
    """Return [u]: what a minute of each unit is worth to the tasks that wait for it in turn.

    With more tasks than units of a skill, each unit has a queue. A minute that it spends on one
    task delays all behind it: the weight of the tasks beyond the first of every unit, divided by
    the units. A unit of several skills is worth what the scarcest of them is.
    """
    skills = problem.has_skill.shape[1]
    tasks = np.bincount(problem.skill, minlength=skills)
    weights = np.bincount(problem.skill, problem.weight, minlength=skills)
    units = problem.has_skill.sum(axis=0)
    waiting = weights * np.clip(1 - units / np.maximum(tasks, 1), 0, 1)
    by_skill = np.where(problem.has_skill, waiting / np.maximum(units, 1), 0.0)
    prices: Floats = by_skill.max(axis=1, initial=0.0)
    return prices


def costs(problem: Problem, settings: DispatchSettings) -> tuple[Floats, Floats]:
    """Return cost [t, u], infinite where not allowed, and that of waiting on [t].

    cost = w (a + L max(0, a - d)) + p (drive + work), with the weight w, arrival a, target d,
    lateness weight L and the price p of a unit's minute. Waiting on counts as an arrival
    ``defer_min`` after the last possible one, so that no unit stays idle while a task waits for it.
    """
    w, late = problem.weight[:, None], settings.lateness_weight
    arrival = problem.arrival_min
    finite = arrival[np.isfinite(arrival)]
    last = (float(finite.max()) if len(finite) else 0.0) + settings.defer_min

    def waited(minutes: Floats) -> Floats:
        past: Floats = np.maximum(minutes - problem.due_in_min[:, None], 0.0)
        return minutes + late * past - late * np.maximum(-problem.due_in_min[:, None], 0.0)

    price = settings.time_price * time_prices(problem)
    busy = price[None] * (problem.travel_min + problem.work_min[:, None])
    with np.errstate(invalid="ignore"):
        cost = np.where(problem.allowed, w * waited(arrival) + busy, np.inf)
    # A queue's own price must never make waiting look better than being served.
    dear = float(np.where(problem.allowed, busy, 0.0).max(initial=0.0))
    left = (w * waited(np.full((len(w), 1), last)))[:, 0] + dear
    return cost, left
