"""Local time of the city: people live by it, and with it traffic, demand and filling."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

__all__ = ["local_offset"]

_QUARTER_MS = 900_000
"""Clocks are put forward and back on quarters of an hour (of UTC), everywhere."""


def local_offset(zone_name: str) -> Callable[[int], int]:
    """Return a function: time [epoch ms] -> local time minus UTC then [ms].

    ``zone_name`` is of the IANA database (``CitySettings.timezone`` has checked it).
    """
    zone = ZoneInfo(zone_name)

    @lru_cache(maxsize=64)
    def of_quarter(quarter: int) -> int:
        at = datetime.fromtimestamp(quarter * _QUARTER_MS / 1000, UTC)
        offset = at.astimezone(zone).utcoffset() or timedelta()
        return round(offset.total_seconds() * 1000)

    return lambda at_ms: of_quarter(at_ms // _QUARTER_MS)
