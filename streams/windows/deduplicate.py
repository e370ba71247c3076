"""Which readings of a set count: one per (sensor, ts), the one ingested last."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["kept_readings"]

# Odd constants (golden ratio, and one of MurmurHash3's finalisers) that spread the two keys over
# 64 bits, so that one sort finds nearly all pairs; the few collisions are separated afterwards.
_MIX_KEY = np.uint64(0x9E3779B97F4A7C15)
_MIX_TS = np.uint64(0xC2B2AE3D27D4EB4F)


def kept_readings(
    sensor_key: NDArray[np.int64], ts: NDArray[np.int64], ingested_at: NDArray[np.int64]
) -> NDArray[np.intp] | None:
    """Return the ascending indices of the readings to keep, or None when all are distinct.

    Of readings with equal (sensor_key, ts) the one with the largest ``ingested_at`` is kept, and
    of those with equal ``ingested_at`` the last in the arrays. The result depends only on the
    set of readings and, for such ties, on their order, which is that of the Kafka offsets.
    """
    mixed = sensor_key.view(np.uint64) * _MIX_KEY + ts.view(np.uint64) * _MIX_TS
    order = np.argsort(mixed)
    in_order = mixed[order]
    same = in_order[1:] == in_order[:-1]
    if not same.any():
        return None
    # Only readings in runs of equal hashes can be duplicates; they alone get the exact sort.
    in_run = np.zeros(len(order), bool)
    in_run[1:] |= same
    in_run[:-1] |= same
    suspects = order[in_run]
    suspects = suspects[
        np.lexsort((suspects, ingested_at[suspects], ts[suspects], sensor_key[suspects]))
    ]
    superseded = (sensor_key[suspects[1:]] == sensor_key[suspects[:-1]]) & (
        ts[suspects[1:]] == ts[suspects[:-1]]
    )
    if not superseded.any():
        return None
    keep = np.ones(len(order), bool)
    keep[suspects[:-1][superseded]] = False
    return np.flatnonzero(keep)
