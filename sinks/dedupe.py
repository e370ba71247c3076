"""Which of several readings of the same sensor and time is kept, and which is the newest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["last_of_each", "newest_per_reading"]


def newest_per_reading(
    key: NDArray[np.int64], ts: NDArray[np.int64], ingested_at: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Return the indices of the rows to keep, ordered by (key, ts).

    Per (key, ts) the row with the latest ``ingested_at`` stays; of equals, the last in order of
    arrival. Arrays of equal length n; epoch ms.
    """
    order = np.lexsort((ingested_at, ts, key))  # stable, so arrival decides between equals
    k, t = key[order], ts[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (k[1:] != k[:-1]) | (t[1:] != t[:-1])
    return order[last]


def last_of_each(sorted_key: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the index of the last row of every run of equal keys."""
    ends = np.ones(len(sorted_key), np.bool_)
    ends[:-1] = sorted_key[1:] != sorted_key[:-1]
    return np.flatnonzero(ends)
