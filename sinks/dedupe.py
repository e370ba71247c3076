"""Which of several readings of the same sensor and time is kept, and which is the newest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["count_different", "last_of_each", "newest_per_reading"]


def newest_per_reading(
    key: NDArray[np.int64], ts: NDArray[np.int64], ingested_at: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the rows to keep, ordered by (key, ts); of the others; of what is
    kept in the place of each of these.

    Per (key, ts) the row with the latest ``ingested_at`` stays; of equals, the last in order of
    arrival. Arrays of equal length n; epoch ms.
    """
    order = np.lexsort((ingested_at, ts, key))  # stable, so arrival decides between equals
    k, t = key[order], ts[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (k[1:] != k[:-1]) | (t[1:] != t[:-1])
    kept = order[last]
    return kept, order[~last], kept[(np.cumsum(last) - last)[~last]]


def count_different(
    columns: Sequence[NDArray[np.float64]], rows: NDArray[np.intp], others: NDArray[np.intp]
) -> int:
    """Return how many of ``rows`` have other values than the one of ``others`` beside it."""
    different = np.zeros(len(rows), np.bool_)
    for column in columns:
        a, b = column[rows], column[others]
        different |= (a != b) & ~(np.isnan(a) & np.isnan(b))
    return int(np.count_nonzero(different))


def last_of_each(sorted_key: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the index of the last row of every run of equal keys."""
    ends = np.ones(len(sorted_key), np.bool_)
    ends[:-1] = sorted_key[1:] != sorted_key[:-1]
    return np.flatnonzero(ends)
