"""Statistics of values in groups, vectorised: the groups are integer codes 0..n-1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GroupStatistics", "group_statistics", "present_groups", "weighted_percentile"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GroupStatistics:
    """``count`` int64[n] per group; ``values``: statistic -> float64[n], NaN where there are none.

    The statistics have the names of the fields of ``EnvironmentRow``.
    """

    count: NDArray[np.int64]
    values: dict[str, Floats]


def present_groups(
    code: NDArray[np.integer], codes: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the codes (0..codes-1) that occur, ascending, and each element's place among them.

    The same as ``numpy.unique`` with ``return_inverse``, without its sort.
    """
    present = np.flatnonzero(np.bincount(code, minlength=codes))
    place = np.zeros(codes, np.intp)
    place[present] = np.arange(len(present))
    return present, place[code]


def group_statistics(group: NDArray[np.intp], value: Floats, groups: int) -> GroupStatistics:
    """Return the statistics of ``value`` per group.

    ``group`` int[m] and ``value`` float64[m] (no NaN). The percentile interpolates linearly
    between order statistics (Hyndman & Fan 1996, type 7, numpy's default).
    """
    count = np.bincount(group, minlength=groups)
    order = np.lexsort((value, group))
    ordered = value[order]
    present = count > 0
    n = count[present]
    first = (np.cumsum(count) - count)[present]

    def percentile(share: float) -> Floats:
        place = share * (n - 1)
        below = np.floor(place).astype(np.intp)
        above = np.minimum(below + 1, n - 1)
        fraction = place - below
        between: Floats = (
            ordered[first + below] * (1 - fraction) + ordered[first + above] * fraction
        )
        return between

    low, high = ordered[first], ordered[first + n - 1]
    mean = np.bincount(group, value, groups)[present] / n
    statistics = {
        # Rounding in the sum must not push a mean outside its own range.
        "mean": np.clip(mean, low, high),
        "min": low,
        "max": high,
        "p95": percentile(0.95),
    }
    values = {name: np.full(groups, np.nan) for name in statistics}
    for name, of_present in statistics.items():
        values[name][present] = of_present
    return GroupStatistics(count, values)


def weighted_percentile(
    group: NDArray[np.intp], value: Floats, weight: Floats, groups: int, share: float
) -> Floats:
    """Return per group the smallest value at which the cumulated weight reaches ``share``.

    Weights must be positive; NaN for a group without values. This is the inverse of the
    weighted empirical distribution (Hyndman & Fan type 1). Values that are equal as float32 may
    stand for one another.
    """
    result = np.full(groups, np.nan)
    if not len(value):
        return result
    order = _order_by_group_and_float32(group, value)
    ordered_group = group[order]
    cumulated = np.cumsum(weight[order])
    last = np.flatnonzero(np.append(ordered_group[1:] != ordered_group[:-1], True))
    present = ordered_group[last]
    before = np.concatenate(([0.0], cumulated[last[:-1]]))
    target = before + share * (cumulated[last] - before)
    # A hair of slack keeps rounding in the running sum from skipping an exact hit.
    place = np.searchsorted(cumulated, target * (1 - 1e-12), side="left")
    first = np.concatenate(([0], last[:-1] + 1))
    result[present] = value[order][np.clip(place, first, last)]
    return result


def _order_by_group_and_float32(group: NDArray[np.intp], value: Floats) -> NDArray[np.intp]:
    """Return the order by group, then value; one integer sort is 4 times as fast as lexsort."""
    bits = value.astype(np.float32).view(np.int32)
    # Negative floats order backwards by their bits; flipping all but the sign mends that.
    ascending = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return np.argsort((group.astype(np.int64) << 32) + ascending)
