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
    which may displace another, and so on, and others may take over the unit that becomes free:
    shortest paths over the tasks (Bellman-Ford) in differences of cost. Where a unit is taken from
    one task, only the best of these moves is counted, so a value may be too high, never too low.
    Zero for the chosen units.
    """
    tasks, units = cost.shape
    rows = np.arange(tasks)
    has = chosen >= 0
    own = np.where(has, cost[rows, chosen], unassigned) if units else unassigned
    extra: Floats = cost - own[:, None]
    taken = np.flatnonzero(np.isin(np.arange(units), chosen))
    free = np.setdiff1d(np.arange(units), taken)
    gain = _gain_of_free(extra, chosen, units)
    extra[np.ix_(has, free)] += gain[chosen[has]][:, None]
    if len(taken):
        owner = np.empty(units, np.intp)
        owner[chosen[has]] = rows[has]
        displaced = owner[taken]
        release = _cost_of_release(cost, unassigned, own, taken, displaced, has)
        swapped = np.full((tasks, len(taken)), np.inf)
        swapped[has] = (cost[np.ix_(displaced, chosen[has])] - own[displaced][:, None]).T
        extra[:, taken] += np.minimum(release[displaced][None], swapped)
    extra[rows[has], chosen[has]] = 0.0
    return extra


def _gain_of_free(moving: Floats, chosen: Indices, units: int) -> Floats:
    """Return [u], at most 0: what it saves if another of that unit were there to be taken.

    ``moving`` [t, u] is what it costs each task to move from its own unit to that one.
    """
    gain = np.zeros(units)
    for _ in range(_MOST_ROUNDS):
        after = np.append(gain, 0.0)[chosen]
        better = np.minimum((moving + after[:, None]).min(axis=0, initial=np.inf), gain)
        if np.array_equal(better, gain):
            break
        gain = better
    return gain


def _cost_of_release(
    cost: Floats,
    unassigned: Floats,
    own: Floats,
    taken: Indices,
    owner: Indices,
    has: NDArray[np.bool_],
) -> Floats:
    """Return [t] what it costs that the task gives up its unit; ``owner`` is by ``taken``."""
    free = np.setdiff1d(np.arange(cost.shape[1]), taken)
    to_free = (cost[:, free] - own[:, None]).min(axis=1, initial=np.inf)
    release: Floats = np.minimum(np.where(has, unassigned - own, np.inf), to_free)
    move = cost[:, taken] - own[:, None]
    move[owner, np.arange(len(taken))] = np.inf
    for _ in range(_MOST_ROUNDS):
        better = np.minimum(release, (move + release[owner]).min(axis=1))
        if np.array_equal(better, release):
            break
        release = better
    return release
