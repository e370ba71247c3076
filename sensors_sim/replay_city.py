"""A city model around recorded sensors, so that their segments and areas exist."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from civicstream.city import Area, City, Point, Segment, Sensors
from civicstream.errors import ConfigurationError
from sensors_sim.districts import CENTRE

__all__ = ["city_around", "read_neighbours"]

_SEGMENT_M = 500.0
_FREE_FLOW_KMH = 105.0
"""65 mph, the limit on the freeways of the Los Angeles recording."""

_SPACING_DEG = 0.01


def city_around(
    sensors: Sequence[str],
    kind: str,
    area: str,
    areas: int,
    interval_s: float,
    neighbours: NDArray[np.bool_] | None = None,
) -> City:
    """Return a city with these sensors, spread in their order over ``areas`` areas.

    The recording says nothing about places: sensors stand on a grid, and each traffic detector
    has a segment ``seg-<sensor>`` of its own, one lane, 500 m, 105 km/h. ``neighbours``
    [n, n]: whether the column's segment is downstream of the row's.
    """
    n = len(sensors)
    width = int(np.ceil(np.sqrt(n)))
    place = [
        (round(CENTRE[0] + i % width * _SPACING_DEG, 6), round(CENTRE[1] + i // width / 100, 6))
        for i in range(n)
    ]
    area_of = [i * areas // n for i in range(n)]
    names = [area] if areas == 1 else [f"{area}-{i + 1:02d}" for i in range(areas)]
    model_areas = tuple(
        Area(name, name, _box([p for p, a in zip(place, area_of, strict=True) if a == i]))
        for i, name in enumerate(names)
    )
    joined = np.zeros((n, n), np.bool_) if neighbours is None else neighbours
    is_traffic = kind == "traffic"
    segments = tuple(
        _segment(i, sensors, names[area_of[i]], place[i], joined)
        for i in range(n if is_traffic else 0)
    )
    code = Sensors.kind_names.index(kind)
    rows = [
        (sensors[i], code, area_of[i], i if is_traffic else -1, 0, interval_s, *place[i])
        for i in range(n)
    ]
    return City(model_areas, segments, Sensors.from_rows(rows))


def _segment(
    i: int, sensors: Sequence[str], area: str, place: Point, joined: NDArray[np.bool_]
) -> Segment:
    def names(which: NDArray[np.bool_]) -> tuple[str, ...]:
        return tuple(f"seg-{sensors[j]}" for j in np.flatnonzero(which).tolist() if j != i)

    return Segment(
        id=f"seg-{sensors[i]}",
        area=area,
        corridor=f"cor-{sensors[i]}",
        position=0,
        road_class="freeway",
        lanes=1,
        length_m=_SEGMENT_M,
        free_flow_kmh=_FREE_FLOW_KMH,
        line=(place, (round(place[0] + _SPACING_DEG / 2, 6), place[1])),
        upstream=names(joined[:, i]),
        downstream=names(joined[i]),
    )


def _box(places: list[Point]) -> tuple[Point, ...]:
    points = np.array(places or [CENTRE])
    (west, south), (east, north) = points.min(axis=0), points.max(axis=0) + _SPACING_DEG
    ring = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return tuple((round(float(x), 6), round(float(y), 6)) for x, y in ring)


def read_neighbours(path: Path, sensors: int) -> NDArray[np.bool_]:
    """Return bool[n, n] from a CSV of adjacency weights without header; 0 is not adjacent."""
    try:
        weights = np.loadtxt(path, delimiter=",")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--adjacency {path}: {error}") from error
    if weights.shape != (sensors, sensors):
        raise ConfigurationError(
            f"--adjacency {path}: {weights.shape} weights, but the recording has {sensors} sensors"
        )
    adjacent: NDArray[np.bool_] = weights > 0
    return adjacent
