"""How many tasks of each service the units on shift can do in each area.

A unit is drawn to where its work is and to what is near (a gravity model, Huff 1964): its time
falls to the areas and services it has the skill for in proportion to their work, over
1 + (distance / reach)². So the shares of a unit add up to its hour, and units count where they
are needed rather than where they happen to stand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["capacity_per_h"]

Floats = NDArray[np.float64]

REACH_KM = 3.0
"""Twice this far away a unit counts a fifth: ten minutes of driving in a city."""
TRAVEL_H = 0.2
"""Between two tasks."""
_SOME_WORK = 1e-3
"""Tasks that are always taken to be there: idle units are capacity too."""


def capacity_per_h(distance_km: Floats, has_skill: Floats, tasks: Floats, work_h: Floats) -> Floats:
    """Return the tasks per hour [areas, services] that the units can do.

    ``distance_km`` [units, areas] from each unit to each area's middle, ``has_skill``
    [units, services] 0 or 1, ``tasks`` [areas, services] open and expected, ``work_h`` [services]
    hours on site per task.
    """
    each_h = work_h + TRAVEL_H
    work = (tasks + _SOME_WORK) * each_h
    pull = 1 / (1 + (distance_km / REACH_KM) ** 2)
    drawn = (pull * (has_skill @ work.T)).sum(axis=1, keepdims=True)
    share = np.divide(has_skill, drawn, out=np.zeros_like(has_skill), where=drawn > 0)
    hours: Floats = work * (pull.T @ share)
    return hours / each_h
