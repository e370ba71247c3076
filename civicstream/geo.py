"""Distances on the ground; one Earth for all parts.

The ground is taken as flat at the middle latitude: within 0.1 % for distances in a city. Points on
both sides of the date line are near each other.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRES_PER_DEGREE", "distance_m", "distances_m"]

METRES_PER_DEGREE = 111_195.0
"""Of a great circle on a sphere of the Earth's mean radius, 6,371 km."""


def distance_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    """Return the distance [m] of two points [degrees]."""
    east = (lon_b - lon_a + 180) % 360 - 180
    shrink = math.cos(math.radians((lat_a + lat_b) / 2))
    return math.hypot(east * shrink, lat_b - lat_a) * METRES_PER_DEGREE


def distances_m(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances [m] of points lon, lat [..., 2] in degrees; NaN where one is NaN."""
    east = (b[..., 0] - a[..., 0] + 180) % 360 - 180
    shrink = np.cos(np.radians((a[..., 1] + b[..., 1]) / 2))
    metres: NDArray[np.float64] = np.hypot(east * shrink, b[..., 1] - a[..., 1])
    return metres * METRES_PER_DEGREE
