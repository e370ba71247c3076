"""Distances against the haversine formula, and at the date line."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream.geo import METRES_PER_DEGREE, distance_m, distances_m


def haversine_m(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    a, b = math.radians(lat_a), math.radians(lat_b)
    half = math.sin((b - a) / 2) ** 2
    half += math.cos(a) * math.cos(b) * math.sin(math.radians(lon_b - lon_a) / 2) ** 2
    return 2 * 6_371_000 * math.asin(math.sqrt(half))


near = st.floats(-0.2, 0.2)


@given(st.floats(-180, 180), st.floats(-65, 65), near, near)
def test_within_a_city_it_is_the_great_circles(
    lon: float, lat: float, east: float, north: float
) -> None:
    points = (lon, lat, (lon + east + 180) % 360 - 180, lat + north)
    expected = haversine_m(*points)
    assert distance_m(*points) == pytest.approx(expected, rel=1e-3, abs=0.01)
    a, b = np.array([points[:2]]), np.array([points[2:]])
    assert distances_m(a, b)[0] == pytest.approx(expected, rel=1e-3, abs=0.01)


def test_arrays_broadcast_and_unknown_places_stay_unknown() -> None:
    here = np.array([[[10.0, 50.0]], [[10.0, 51.0]]])
    places = np.array([[[10.0, 50.0], [np.nan, np.nan], [10.0, 52.0]]])
    away = distances_m(here, places) / METRES_PER_DEGREE
    np.testing.assert_allclose(away, [[0, np.nan, 2], [1, np.nan, 1]], atol=1e-9)
