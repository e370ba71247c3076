"""Local time of the city: people live by it, and with it traffic, demand and filling."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import overload
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

__all__ = ["DAY_MS", "LocalOffset", "is_weekend", "local_offset"]

DAY_MS = 86_400_000

LocalOffset = Callable[[int], int]
"""Time [epoch ms] -> local time minus UTC then [ms]."""

_THURSDAY = 3
"""1 January 1970, counted from Monday."""

_QUARTER_MS = 900_000
"""Clocks are put forward and back on quarters of an hour (of UTC), everywhere."""


@overload
def is_weekend(local_ms: int) -> bool: ...


@overload
def is_weekend(local_ms: NDArray[np.int64]) -> NDArray[np.bool_]: ...


def is_weekend(local_ms: int | NDArray[np.int64]) -> bool | NDArray[np.bool_]:
    """Return whether local times [ms] are of a Saturday or Sunday."""
    return (local_ms // DAY_MS + _THURSDAY) % 7 >= 5


def local_offset(zone_name: str) -> LocalOffset:
    """Return the offset of a time zone.

    ``zone_name`` is of the IANA database (``CitySettings.timezone`` has checked it).
    """
    zone = ZoneInfo(zone_name)

    @lru_cache(maxsize=64)
    def of_quarter(quarter: int) -> int:
        at = datetime.fromtimestamp(quarter * _QUARTER_MS / 1000, UTC)
        offset = at.astimezone(zone).utcoffset() or timedelta()
        return round(offset.total_seconds() * 1000)

    return lambda at_ms: of_quarter(at_ms // _QUARTER_MS)
