"""Which other series predict a series' next half hour: those on the road graph, and learned ones.

A candidate j of series i is judged by the partial correlation of the change of i over the lead
with the present deviation of j, given the present deviation of i (Yule 1907):

    (r_yj - r_yi r_ij) / sqrt((1 - r_yi²)(1 - r_ij²))

from the last days' slots. A few series are judged at a time, so that no n x n matrix is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.forecast.days import DayHistory

__all__ = ["Neighbours"]

Floats = NDArray[np.float32]

_LEAD_SLOTS = 2  # half an hour: the middle of the leads
_SLOTS_TO_START = 40  # below ten hours, correlations are those of one peak
_SLOTS_TO_USE = 288  # three days
# What was learned of a neighbour is lost with it: another must be clearly better. A segment next
# on the road is preferred, because its correlation has a reason.
_LEAD_OF_PRESENT, _LEAD_OF_LINKED = 0.05, 0.2
_CALLS_PER_ROUND = 12  # every series is judged again four times a day at half an hour a call


class Neighbours:
    """``index`` intp[n, k]: each series' neighbours; itself where it has fewer than k."""

    def __init__(self, n: int, k: int, links: NDArray[np.intp]) -> None:
        """``links`` int[m, 2]: pairs on the road graph, preferred for up to half of the places."""
        self.index = np.repeat(np.arange(n)[:, None], k, axis=1)
        self._linked: list[list[int]] = [[] for _ in range(n)]
        for a, b in links.tolist():
            for one, other in ((a, b), (b, a)):
                if other not in self._linked[one] and len(self._linked[one]) < k // 2:
                    self._linked[one].append(other)
        for i, others in enumerate(self._linked):
            self.index[i, : len(others)] = others
        self._next = 0

    def judge(self, history: DayHistory) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Choose the neighbours of the series whose turn it is; to be called every other slot.

        Return the series and the places (below k) that have another neighbour from now on.
        """
        n, k = self.index.shape
        slots = history.last(_SLOTS_TO_USE)
        if len(slots) < _SLOTS_TO_START or n < 2:
            return np.empty(0, np.intp), np.empty(0, np.intp)
        count = min(n, -(-n // _CALLS_PER_ROUND))
        chosen = np.arange(self._next, self._next + count) % n
        self._next = int((chosen[-1] + 1) % n)
        score = np.abs(_partial_correlations(slots, chosen))
        old = self.index[chosen]
        np.put_along_axis(score, old, np.take_along_axis(score, old, 1) + _LEAD_OF_PRESENT, 1)
        for row, i in enumerate(chosen.tolist()):
            score[row, self._linked[i]] += _LEAD_OF_LINKED
        score[np.arange(len(chosen)), chosen] = -1.0
        k = min(k, n - 1)
        best = np.argpartition(-score, k - 1, axis=1)[:, :k]
        return self._replace(chosen, best)

    def _replace(
        self, chosen: NDArray[np.intp], best: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Put ``best`` [m, at most k] in, each that was there before in its old place."""
        old = self.index[chosen][:, : best.shape[1]]
        same = old[:, :, None] == best[:, None, :]
        vacant, new = ~same.any(axis=2), ~same.any(axis=1)
        changed = old.copy()
        changed[vacant] = best[new]
        self.index[chosen, : best.shape[1]] = changed
        row, place = np.nonzero(vacant)
        return chosen[row], place


def _partial_correlations(slots: Floats, chosen: NDArray[np.intp]) -> Floats:
    """Return float32[len(chosen), n], 0 where a series does not vary."""
    now, later = slots[:-_LEAD_SLOTS], slots[_LEAD_SLOTS:]
    deviation = _standardised(now)
    change = _standardised((later - now)[:, chosen])
    rows = len(now)
    r_yj = change.T @ deviation / rows
    r_ij = deviation[:, chosen].T @ deviation / rows
    r_yi = np.take_along_axis(r_yj, chosen[:, None], axis=1)
    spread = (1 - r_yi**2) * (1 - np.minimum(r_ij**2, 0.98))
    partial: Floats = (r_yj - r_yi * r_ij) / np.sqrt(np.maximum(spread, 1e-6))
    return partial


def _standardised(values: Floats) -> Floats:
    """Return columns with mean 0 and variance 1; a missing value counts as the mean."""
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, values, 0.0)
    centred = np.where(known, centred - centred.sum(axis=0) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / count)
    result: Floats = (centred / np.where(spread > 1e-6, spread, np.inf)).astype(np.float32)
    return result
