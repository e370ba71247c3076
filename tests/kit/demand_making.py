"""A small city, cases, units and sensor readings for tests of demand."""

from __future__ import annotations

from typing import Any

import numpy as np

from civicstream.city import Area, City, Sensors
from civicstream.kinds import KINDS
from civicstream.service_events import BinForecast, Case, Unit
from streams.windows.windows import Columns
from tests.kit.case_making import HOUR, SERVICES, make_service

MIDNIGHT = 1_760_313_600_000
"""Monday 13 October 2025, 00:00 UTC."""
MINUTE = 60_000
DEMAND_SERVICES = SERVICES | {"pothole": make_service("pothole", skill="road", work_min=48)}


def _square(west: float) -> tuple[tuple[float, float], ...]:
    east = west + 0.03
    return ((west, 52.0), (east, 52.0), (east, 52.02), (west, 52.02), (west, 52.0))


def make_city(parks: int = 0) -> City:
    """Return two areas, 2 km wide and 10 km apart, and some car parks in the first."""
    parking = list(KINDS).index("parking")
    rows = [(f"p{i}", parking, 0, -1, 0, 60.0, 5.0 + i / 1000, 52.01) for i in range(parks)]
    areas = (Area("west", "West", _square(5.0)), Area("east", "East", _square(5.15)))
    return City(areas, (), Sensors.from_rows(rows))


def make_case(number: int, **changes: Any) -> Case:
    fields: dict[str, Any] = {
        "id": f"c-{number}",
        "version": 1,
        "state": "received",
        "area": "west",
        "service": "pothole",
        "agency": "roads",
        "priority": 3,
        "lon": 5.01,
        "lat": 52.01,
        "description": "",
        "reports": 1,
        "reporters": 1,
        "weight": 1.0,
        "opened_at": MIDNIGHT,
        "updated_at": MIDNIGHT,
        "due_at": MIDNIGHT + 24 * HOUR,
        "changed_by": "system",
    }
    return Case(**fields | changes)


def make_unit(name: str, now_ms: int, **changes: Any) -> Unit:
    fields: dict[str, Any] = {
        "id": name,
        "area": "west",
        "state": "available",
        "skills": ["road"],
        "lon": 5.015,
        "lat": 52.01,
        "shift_end": now_ms + 8 * HOUR,
        "capacity": 0.0,
        "load": 0.0,
        "at": now_ms,
    }
    return Unit(**fields | changes)


def make_bin(full_in_h: float | None, now_ms: int, **changes: Any) -> BinForecast:
    full = None if full_in_h is None else now_ms + round(full_in_h * HOUR)
    fields: dict[str, Any] = {
        "sensor_key": 7,
        "area": "west",
        "sensor": "b7",
        "lon": 5.01,
        "lat": 52.01,
        "at": now_ms,
        "level": 0.5,
        "fill_per_h": 0.01,
        "emptied_at": None,
        "predicted_full_at": full,
        "full_low": full,
        "full_high": full,
    }
    return BinForecast(**fields | changes)


def make_readings(kind: str, keys: Any, ts: Any, **measures: Any) -> Columns:
    """Return readings of the area with code 0; measures that are not given are NaN."""
    n = len(keys)
    times = np.broadcast_to(np.asarray(ts, np.int64), (n,)).copy()
    columns = {
        name: np.broadcast_to(np.asarray(measures.get(name, np.nan), np.float64), (n,)).copy()
        for name in KINDS[kind].measure_names
    }
    return Columns(np.asarray(keys, np.int64), times, np.zeros(n, np.int32), times, columns)


__all__ = [
    "DEMAND_SERVICES",
    "HOUR",
    "MIDNIGHT",
    "MINUTE",
    "make_bin",
    "make_case",
    "make_city",
    "make_readings",
    "make_unit",
]
