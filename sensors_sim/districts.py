"""Districts of a simulated city: a grid of irregular quadrilaterals that tile the plane.

Everything in the city is placed by (district, u, v) with u and v in 0..1, so a street, a
freeway or a sensor lies inside its district by construction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import Area, Point
from civicstream.geo import METRES_PER_DEGREE

__all__ = ["Districts", "lay_out_districts"]

Floats = NDArray[np.float64]

CENTRE: Point = (5.1214, 52.0907)
"""Where the simulated city lies (Utrecht); nothing else about it is real."""

DISTRICT_SIDE_M = 2_000.0
_JITTER = 0.12
"""How far a corner moves, as a share of the side; below 0.25 every quadrilateral is convex."""

_FIRST = (
    "North",
    "South",
    "East",
    "West",
    "Upper",
    "Lower",
    "Old",
    "New",
    "Inner",
    "Outer",
    "Royal",
    "Green",
    "Long",
    "High",
    "Broad",
    "Little",
)
_SECOND = (
    "Harbour",
    "Market",
    "Mill",
    "Bridge",
    "Park",
    "Station",
    "Castle",
    "Orchard",
    "Meadow",
    "Quay",
    "Hill",
    "Chapel",
    "Garden",
    "Foundry",
    "Lake",
    "Arsenal",
    "Field",
)


@dataclass(frozen=True)
class Districts:
    """``corners`` float64[rows + 1, columns + 1, 2]: lon, lat of the grid's corners."""

    corners: Floats
    areas: tuple[Area, ...]

    @property
    def rows(self) -> int:
        return len(self.corners) - 1

    @property
    def columns(self) -> int:
        return len(self.corners[0]) - 1

    def place(
        self, row: NDArray[np.intp], column: NDArray[np.intp], u: Floats, v: Floats
    ) -> Floats:
        """Return float64[n, 2] lon, lat of the points (u east, v north) in their districts."""
        u, v = u[:, None], v[:, None]
        south = (1 - u) * self.corners[row, column] + u * self.corners[row, column + 1]
        north = (1 - u) * self.corners[row + 1, column] + u * self.corners[row + 1, column + 1]
        placed: Floats = (1 - v) * south + v * north
        return placed


def lay_out_districts(count: int, rng: np.random.Generator) -> Districts:
    """Return at least ``count`` districts (the next full grid), as near to square as it goes."""
    columns = max(1, round(math.sqrt(count)))
    rows = math.ceil(count / columns)
    north = DISTRICT_SIDE_M / METRES_PER_DEGREE
    east = north / math.cos(math.radians(CENTRE[1]))
    grid = np.stack(np.meshgrid(np.arange(columns + 1), np.arange(rows + 1)), axis=-1)
    moved = grid + rng.uniform(-_JITTER, _JITTER, grid.shape)
    middle = np.array([columns / 2, rows / 2])
    corners = np.round((moved - middle) * np.array([east, north]) + np.array(CENTRE), 6)
    names = _names(rows * columns)
    areas = tuple(
        Area(f"d{r:02d}{c:02d}", names[r * columns + c], _outline(corners, r, c))
        for r in range(rows)
        for c in range(columns)
    )
    return Districts(corners, areas)


def _outline(corners: Floats, r: int, c: int) -> tuple[Point, ...]:
    ring = ((r, c), (r, c + 1), (r + 1, c + 1), (r + 1, c), (r, c))
    return tuple((float(corners[at][0]), float(corners[at][1])) for at in ring)


def _names(count: int) -> list[str]:
    names = [f"{a} {b}" for b in _SECOND for a in _FIRST]
    return [
        names[i % len(names)] + (f" {i // len(names) + 1}" if i >= len(names) else "")
        for i in range(count)
    ]
