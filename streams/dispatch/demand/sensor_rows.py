"""The sensors of one kind as rows of columns: where they are, their newest reading, their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from streams.health.sensor_table import Column, SensorTable
from streams.health.snapshot import pack, unpack
from streams.windows.windows import Columns

__all__ = ["Newest", "SensorPlace", "SensorRows"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


class Newest:
    """The newest reading of each of k sensors: ``rows`` [k], ``ts`` [k], and its measures [k]."""

    def __init__(self, rows: Rows, ts: NDArray[np.int64], measures: Mapping[str, Floats]) -> None:
        self.rows = rows
        self.ts = ts
        self.measures = measures


class SensorPlace:
    """What the city model says of a sensor; None where it does not know it."""

    def __init__(self, city: City, area: str, sensor: int) -> None:
        known = sensor >= 0
        self.area = area
        self.name = city.sensors.ids[sensor] if known else None
        self.lon = float(city.sensors.lon[sensor]) if known else None
        self.lat = float(city.sensors.lat[sensor]) if known else None


class SensorRows:
    """Sensors enter with their first reading. ``state``: the named columns, a row per sensor."""

    def __init__(self, city: City, columns: Sequence[Column]) -> None:
        self._city = city
        self.state = SensorTable(columns, 0)
        self._sensor = np.zeros(0, np.intp)
        self._area = np.zeros(0, np.intp)
        self._areas: list[str] = []
        self._codes: dict[str, int] = {}
        self._changed: set[int] = set()

    def __len__(self) -> int:
        return len(self.state)

    def newest(self, readings: Columns, area_names: Sequence[str], measure: str) -> Newest:
        """Return the newest reading of each sensor that has the ``measure``, newer than before.

        ``readings.area`` are codes into ``area_names``. The columns must have ``ts``: the time
        of a sensor's last reading, 0 before the first.
        """
        measured = np.flatnonzero(np.isfinite(readings.measures[measure]))
        order = measured[np.lexsort((readings.ts[measured], readings.sensor_key[measured]))]
        keys = readings.sensor_key[order]
        last = np.append(keys[1:] != keys[:-1], True)[: len(keys)]
        chosen = readings.take(order[last])
        rows = self._enrol(chosen, area_names)
        newer = np.flatnonzero(chosen.ts > self.state["ts"][rows])
        self._changed |= set(np.unique(self._area[rows[newer]]).tolist())
        values = {name: column[newer] for name, column in chosen.measures.items()}
        return Newest(rows[newer], chosen.ts[newer], values)

    def _enrol(self, readings: Columns, area_names: Sequence[str]) -> Rows:
        rows = self.state.rows(readings.sensor_key)
        new = rows < 0
        if new.any():
            names = [area_names[code] for code in readings.area[new].tolist()]
            self._append(readings.sensor_key[new], names)
            rows = self.state.rows(readings.sensor_key)
        return rows

    def _append(self, keys: NDArray[np.int64], areas: list[str]) -> None:
        self.state.append(keys)
        for area in areas:
            if area not in self._codes:
                self._codes[area] = len(self._areas)
                self._areas.append(area)
        self._area = np.append(self._area, [self._codes[area] for area in areas]).astype(np.intp)
        self._sensor = np.append(self._sensor, self._city.find_sensors(keys))

    def place(self, row: int) -> SensorPlace:
        return SensorPlace(self._city, self._areas[int(self._area[row])], int(self._sensor[row]))

    def changed(self) -> dict[str, bytes]:
        """Return the state of each area with new readings since the last call."""
        codes = sorted(self._changed)
        self._changed.clear()
        columns = {"key": self.state.keys} | {n: self.state[n] for n in self.state.columns}
        packed = pack(columns, [np.flatnonzero(self._area == code) for code in codes])
        return {self._areas[code]: data for code, data in zip(codes, packed, strict=True)}

    def restore(self, area: str, data: bytes) -> None:
        """Go on from an area's state; before its first reading. ValueError for other bytes.

        Columns that only one of the two versions knows are left as they are when young.
        """
        columns = unpack(data)
        keys = columns.pop("key")
        self._append(keys, [area] * len(keys))
        rows = self.state.rows(keys)
        for name in columns.keys() & self.state.columns.keys():
            self.state[name][rows] = columns[name]
