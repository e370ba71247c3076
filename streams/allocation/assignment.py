"""Optimal assignment of tasks to units, and what another choice would cost the whole plan.

Kuhn's assignment problem, solved by the shortest augmenting paths of scipy's
``linear_sum_assignment`` (Crouse 2016). Each task has a column of its own for going unserved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["assign", "extra_costs"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_MOST_ROUNDS = 50
"""Chains of displaced tasks longer than this change the last decimals only."""


def assign(cost: Floats, unassigned: Floats) -> Indices:
    """Return the unit [t] of each task, -1 for none, with the least total cost.

    ``cost`` [t, u] may be infinite; ``unassigned`` [t] must be finite.
    """
    tasks, units = cost.shape
    if not tasks:
        return np.zeros(0, np.intp)
    alone = np.full((tasks, tasks), np.inf)
    np.fill_diagonal(alone, unassigned)
    _, column = linear_sum_assignment(np.concatenate([cost, alone], axis=1))
    chosen: Indices = np.where(column < units, column, -1).astype(np.intp)
    return chosen


def extra_costs(cost: Floats, unassigned: Floats, chosen: Indices) -> Floats:
    """Return [t, u]: what the whole plan costs more if that unit goes to that task instead.

    ``chosen`` is the optimal plan. The task that loses its unit moves on to the next best one,
    which may displace another, and so on: shortest paths over the tasks (Bellman-Ford) in
    differences of cost. Left out are chains of three and more tasks that end at the unit which
    becomes free, so a value may be too high, never too low. Zero for the chosen units.
    """
    tasks, units = cost.shape
    rows = np.arange(tasks)
    own = np.where(chosen >= 0, cost[rows, chosen], unassigned) if units else unassigned
    owner = np.full(units, -1, np.intp)
    owner[chosen[chosen >= 0]] = rows[chosen >= 0]
    free = owner < 0
    alone = np.where(chosen >= 0, unassigned - own, np.inf)
    to_free = (cost[:, free] - own[:, None]).min(axis=1, initial=np.inf)
    release = np.minimum(alone, to_free)
    """[t] what it costs that the task gives up its unit."""
    taken = np.flatnonzero(~free)
    move = cost[:, taken] - own[:, None]
    move[owner[taken], np.arange(len(taken))] = np.inf
    for _ in range(_MOST_ROUNDS if len(taken) else 0):
        better = np.minimum(release, (move + release[owner[taken]]).min(axis=1))
        if np.array_equal(better, release):
            break
        release = better
    extra = cost - own[:, None]
    if len(taken):
        displaced = owner[taken]
        has = chosen >= 0
        # The displaced task may take over the unit that becomes free.
        swapped = np.full((tasks, len(taken)), np.inf)
        swapped[has] = (cost[np.ix_(displaced, chosen[has])] - own[displaced][:, None]).T
        extra[:, taken] += np.minimum(release[displaced][None], swapped)
    extra[rows[chosen >= 0], chosen[chosen >= 0]] = 0.0
    found: Floats = extra
    return found
