"""A grid of square cells over WGS 84, to find what is near a place without a scan."""

from __future__ import annotations

import math

from civicstream.geo import METRES_PER_DEGREE, distance_m

__all__ = ["PlaceIndex", "is_place"]


def is_place(lon: float, lat: float) -> bool:
    """Whether the coordinates are of this world; false for NaN."""
    return -180 <= lon <= 180 and -90 <= lat <= 90


class PlaceIndex:
    """Keys by place. Rows of cells are equally high; their cells as wide as high, row by row."""

    def __init__(self, cell_m: float) -> None:
        self._high = cell_m / METRES_PER_DEGREE
        self._cells: dict[tuple[int, int], dict[str, tuple[float, float]]] = {}
        self._cell_of: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._cell_of)

    def add(self, key: str, lon: float, lat: float) -> None:
        """Put ``key`` at a place, or move it there."""
        self.remove(key)
        row = math.floor(lat / self._high)
        cell = (row, math.floor(lon / self._width(row)))
        self._cells.setdefault(cell, {})[key] = (lon, lat)
        self._cell_of[key] = cell

    def remove(self, key: str) -> None:
        """Take ``key`` out; nothing happens when it is not there."""
        cell = self._cell_of.pop(key, None)
        if cell is not None:
            del self._cells[cell][key]
            if not self._cells[cell]:
                del self._cells[cell]

    def near(self, lon: float, lat: float, radius_m: float) -> list[tuple[float, str]]:
        """Return (distance [m], key) of all within the radius, the nearest first."""
        found = [
            (away, key)
            for cell in self._around(lon, lat, radius_m / METRES_PER_DEGREE)
            for key, (x, y) in self._cells.get(cell, {}).items()
            if (away := distance_m(lon, lat, x, y)) <= radius_m
        ]
        return sorted(found)

    def _around(self, lon: float, lat: float, reach: float) -> set[tuple[int, int]]:
        """Return the cells that a circle of ``reach`` degrees of latitude may touch."""
        poleward = min(abs(lat) + reach, 89.9)
        # A little wider, for the distance is measured at the mean latitude.
        across = 1.01 * reach / math.cos(math.radians(poleward))
        lowest = math.floor((lat - reach) / self._high)
        highest = math.floor((lat + reach) / self._high)
        # A circle over the 180th meridian touches cells on its other side.
        turns = [0.0, *(t for t in (-360.0, 360.0) if abs(lon + t) - across <= 180)]
        return {
            (row, column)
            for row in range(lowest, highest + 1)
            for turn in turns
            for column in range(
                math.floor((lon + turn - across) / self._width(row)),
                math.floor((lon + turn + across) / self._width(row)) + 1,
            )
        }

    def _width(self, row: int) -> float:
        """Return the width of a row's cells [degrees of longitude]."""
        return self._high / max(math.cos(math.radians((row + 0.5) * self._high)), 0.01)
