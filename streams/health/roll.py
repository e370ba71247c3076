"""Who is in the table: sensors enter with their first reading and what the city model has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.health.places import NEIGHBOURS, SensorPlaces
from streams.health.sensor_table import SensorTable
from streams.windows.windows import Columns

__all__ = ["SensorRoll"]

Keys = NDArray[np.int64]
Rows = NDArray[np.intp]


class SensorRoll:
    """Area, place and neighbours of each row of the table."""

    def __init__(self, places: SensorPlaces, table: SensorTable) -> None:
        self._places = places
        self._table = table
        self.areas: list[str] = []
        self._area_codes: dict[str, int] = {}
        self._area = np.zeros(0, np.intp)
        self._sensor = np.zeros(0, np.intp)
        self._near = np.zeros((0, NEIGHBOURS), np.intp)
        self.lanes = np.zeros(0, np.float64)
        self.neighbours: Rows = np.zeros((0, NEIGHBOURS), np.intp)
        """[n, NEIGHBOURS] rows, -1 where there is none in this partition."""
        self._members: dict[str, Rows] | None = None

    def enrol(
        self, readings: Columns, area_names: Sequence[str], late: Keys, now_ms: int
    ) -> tuple[Rows, Rows]:
        """Return the row of each reading and of each late one's sensor.

        A sensor that was only ever late enters if the city model knows its area, else it has row
        -1 until a reading of it comes in time.
        """
        row, late_row = self._table.rows(readings.sensor_key), self._table.rows(late)
        new = row < 0
        if new.any():
            keys, first = np.unique(readings.sensor_key[new], return_index=True)
            codes = readings.area[new][first]
            self._append(keys, [area_names[code] for code in codes.tolist()], now_ms)
            row = self._table.rows(readings.sensor_key)
            late_row = self._table.rows(late)
        unheard = np.unique(late[late_row < 0])
        sensor = self._places.find(unheard)
        unheard, sensor = unheard[sensor >= 0], sensor[sensor >= 0]
        if len(unheard):
            self._append(unheard, [self._places.area(s) for s in sensor.tolist()], now_ms)
            late_row = self._table.rows(late)
        return row, late_row

    def enrol_known(self, area: str, keys: Keys) -> Rows:
        """Return the rows of sensors of ``area`` that an earlier life knew."""
        new = keys[self._table.rows(keys) < 0]
        if len(new):
            self._append(new, [area] * len(new), 0)
        return self._table.rows(keys)

    def _append(self, keys: Keys, areas: list[str], now_ms: int) -> None:
        rows = self._table.append(keys)
        sensor = self._places.find(keys)
        self._area = np.append(self._area, [self._code(area) for area in areas])
        self._sensor = np.append(self._sensor, sensor)
        self._near = np.concatenate([self._near, self._places.neighbours(sensor)])
        self.lanes = np.append(self.lanes, self._places.lanes(sensor))
        self._table["known_since"][rows] = now_ms // 1000
        self._table["interval_s"][rows] = self._places.interval_s(sensor)
        self._members = None
        self._find_neighbours()

    def _find_neighbours(self) -> None:
        row_of_sensor = np.full(len(self._places.city.sensors) + 1, -1, np.intp)
        known = np.flatnonzero(self._sensor >= 0)
        row_of_sensor[self._sensor[known]] = known
        self.neighbours = row_of_sensor[self._near]

    def _code(self, area: str) -> int:
        code = self._area_codes.get(area)
        if code is None:
            code = self._area_codes[area] = len(self.areas)
            self.areas.append(area)
        return code

    def area_of(self, row: int) -> str:
        return self.areas[int(self._area[row])]

    def name_of(self, row: int) -> str | None:
        return self._places.name(int(self._sensor[row]))

    def members(self, area: str) -> Rows:
        """Return the rows of an area's sensors by key, none for an area without any."""
        if self._members is None:
            order = np.lexsort((self._table.keys, self._area))
            ends = np.cumsum(np.bincount(self._area, minlength=len(self.areas)))
            parts = np.split(order, ends[:-1])
            self._members = dict(zip(self.areas, parts, strict=True))
        return self._members.get(area, np.zeros(0, np.intp))
