"""The units on shift: where they are and what they can do."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from civicstream.geo import distances_m
from civicstream.service_events import Unit
from streams.runtime.state_items import StateTable

__all__ = ["ShiftRecord", "UnitsOnShift", "distances_km", "skill_matrix"]

Floats = NDArray[np.float64]

_HOUR_MS = 3_600_000
_SILENT_MS = 2 * _HOUR_MS
"""A unit that has not reported for this long is not counted on."""
_REFRESH_MS = _HOUR_MS // 6
_MOVED_KM = 0.3
"""Smaller moves change no capacity that anyone could see; units report every few seconds."""


class ShiftRecord(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a unit."""

    skills: list[str]
    lon: float
    lat: float
    on_shift: bool
    shift_end: int
    at: int


class UnitsOnShift:
    """What is known of every unit, by id."""

    def __init__(self) -> None:
        self.records = StateTable("unit", ShiftRecord, str)

    def take(self, unit: Unit) -> None:
        """Take in what a unit reports, if it makes a difference; older news are left out."""
        before = self.records.get(unit.id)
        if before is not None and unit.at < before.at:
            return
        record = ShiftRecord(
            list(unit.skills),
            unit.lon,
            unit.lat,
            unit.state != "off_duty",
            unit.shift_end,
            unit.at,
        )
        if before is None or _differs(before, record):
            self.records[unit.id] = record

    def forget_silent(self, now_ms: int) -> None:
        """Let go of units that have not reported for a day: they come back when they report."""
        for unit in [u for u, r in self.records.items() if r.at < now_ms - 24 * _HOUR_MS]:
            del self.records[unit]

    def on_shift(self, now_ms: int) -> list[ShiftRecord]:
        """Return the units that work now, in order of their ids."""
        ordered = (self.records[unit] for unit in sorted(self.records))
        since = now_ms - _SILENT_MS
        return [u for u in ordered if u.on_shift and u.shift_end > now_ms and u.at >= since]


def _differs(before: ShiftRecord, after: ShiftRecord) -> bool:
    same = (
        before.skills == after.skills
        and before.on_shift == after.on_shift
        and before.shift_end == after.shift_end
        and after.at - before.at < _REFRESH_MS
    )
    here = np.array([[after.lon, after.lat]])
    return not same or bool(distances_km([before], here)[0, 0] > _MOVED_KM)


def distances_km(units: Sequence[ShiftRecord], places: Floats) -> Floats:
    """Return [units, places] kilometres to places lon, lat [n, 2]; 0 to places that are NaN."""
    here = np.array([(u.lon, u.lat) for u in units]).reshape(-1, 1, 2)
    return np.asarray(np.nan_to_num(distances_m(here, places[None]) / 1_000))


def skill_matrix(units: Sequence[ShiftRecord], skills: Sequence[str]) -> Floats:
    """Return [units, services] 1 where a unit has the skill that a service needs."""
    codes = {skill: code for code, skill in enumerate(dict.fromkeys(skills))}
    has = np.zeros((len(units), len(codes)))
    for row, unit in enumerate(units):
        has[row, [codes[skill] for skill in unit.skills if skill in codes]] = 1.0
    matrix: Floats = has[:, [codes[skill] for skill in skills]]
    return matrix
