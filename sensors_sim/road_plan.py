"""Roads of a simulated city: directed corridors of segments, freeways and streets.

Freeways run right across the city, four segments to a district, in pairs of opposite
directions; streets cross one district in eight segments. Half of the freeways lose a lane
part of the way: the bottleneck where the daily queue forms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import Point, RoadClass, Segment
from civicstream.geo import distances_m
from sensors_sim.districts import Districts

__all__ = ["Budget", "plan_roads"]

_FREEWAY_PER_DISTRICT = 4
_STREET_PER_DISTRICT = 8
_STREET_MARGIN = 0.05
_GOLDEN = 0.618034
"""Multiples of the golden ratio modulo 1 spread parallel roads evenly at any number of them."""


@dataclass(frozen=True)
class Budget:
    """How many detectors the roads are to carry, and whether each lane has its own."""

    freeway_detectors: int
    street_detectors: int
    by_lane: bool

    def detectors_on(self, lanes: int) -> int:
        return lanes if self.by_lane else 1


@dataclass(frozen=True)
class _Course:
    """Where a corridor runs: its districts in order of travel, and its place across them."""

    name: str
    road_class: RoadClass
    row: NDArray[np.intp]
    column: NDArray[np.intp]
    along: NDArray[np.float64]
    """float64[k + 1]: u (or v) of the k + 1 segment ends within the first district."""
    across: float
    eastward: bool
    reverse: bool
    lanes: tuple[int, ...]
    free_flow_kmh: float


def plan_roads(districts: Districts, budget: Budget, rng: np.random.Generator) -> list[Segment]:
    """Return segments, corridor by corridor in order of travel, that take the whole budget."""
    segments = _fill(_freeways(districts, rng), districts, budget.freeway_detectors, budget)
    segments += _fill(_streets(districts, rng), districts, budget.street_detectors, budget)
    return segments


def _fill(
    courses: Iterator[_Course], districts: Districts, detectors: int, budget: Budget
) -> list[Segment]:
    """Build corridors until their segments carry ``detectors``, the last one cut short."""
    segments: list[Segment] = []
    while detectors > 0:
        course = next(courses)
        carried = np.cumsum([budget.detectors_on(lanes) for lanes in course.lanes])
        wanted = int(np.searchsorted(carried, detectors)) + 1
        segments += _build(course, districts, min(wanted, len(course.lanes)))
        detectors -= int(carried[-1])
    return segments


def _freeways(districts: Districts, rng: np.random.Generator) -> Iterator[_Course]:
    number = 0
    while True:
        eastward = number % 2 == 0
        across_count, length = (
            (districts.rows, districts.columns) if eastward else (districts.columns, districts.rows)
        )
        spread = (0.5 + number * _GOLDEN) % 1
        line = int(spread * across_count)
        across = 0.2 + 0.6 * ((number * _GOLDEN * 7) % 1)
        fixed, running = np.full(length, line, np.intp), np.arange(length, dtype=np.intp)
        lanes = _freeway_lanes(length * _FREEWAY_PER_DISTRICT, rng)
        speed = float(rng.choice([100.0, 110.0, 120.0]))
        for reverse in (False, True):
            yield _Course(
                name=f"fw{number + 1:03d}{_heading(eastward, reverse)}",
                road_class="freeway",
                row=fixed if eastward else running,
                column=running if eastward else fixed,
                along=np.linspace(0, 1, _FREEWAY_PER_DISTRICT + 1),
                # Opposite carriageways lie side by side.
                across=across + (0.01 if reverse == eastward else 0.0),
                eastward=eastward,
                reverse=reverse,
                lanes=lanes,
                free_flow_kmh=speed,
            )
        number += 1


def _freeway_lanes(count: int, rng: np.random.Generator) -> tuple[int, ...]:
    lanes = int(rng.integers(3, 6))
    drop = int(count * rng.uniform(0.5, 0.9)) if rng.random() < 0.5 else count
    return tuple(lanes - 1 if i >= drop else lanes for i in range(count))


def _streets(districts: Districts, rng: np.random.Generator) -> Iterator[_Course]:
    number, total = 0, districts.rows * districts.columns
    along = np.linspace(_STREET_MARGIN, 1 - _STREET_MARGIN, _STREET_PER_DISTRICT + 1)
    while True:
        district, round_ = number % total, number // total
        row, column = divmod(district, districts.columns)
        eastward, reverse = round_ % 2 == 0, (round_ // 2 + district) % 2 == 1
        across = 0.1 + 0.8 * ((0.5 + (round_ // 2) * _GOLDEN) % 1)
        yield _Course(
            name=f"st{number + 1:05d}{_heading(eastward, reverse)}",
            road_class="street",
            row=np.array([row], np.intp),
            column=np.array([column], np.intp),
            along=along,
            across=across,
            eastward=eastward,
            reverse=reverse,
            lanes=(int(rng.integers(1, 4)),) * _STREET_PER_DISTRICT,
            free_flow_kmh=float(rng.choice([50.0, 50.0, 60.0, 70.0])),
        )
        number += 1


def _heading(eastward: bool, reverse: bool) -> str:
    return ("w" if reverse else "e") if eastward else ("s" if reverse else "n")


def _build(course: _Course, districts: Districts, count: int) -> list[Segment]:
    """Return the first ``count`` segments of the corridor in order of travel."""
    per = len(course.along) - 1
    row, column = np.repeat(course.row, per), np.repeat(course.column, per)
    starts = np.tile(course.along[:-1], len(course.row))
    ends = np.tile(course.along[1:], len(course.row))
    if course.reverse:
        row, column, starts, ends = row[::-1], column[::-1], ends[::-1], starts[::-1]
    across = np.full(len(row), course.across)

    def place(along: NDArray[np.float64]) -> NDArray[np.float64]:
        u, v = (along, across) if course.eastward else (across, along)
        return districts.place(row, column, u, v)

    start, end = place(starts), place(ends)
    lengths = np.round(distances_m(start, end), 1).tolist()
    first: list[Point] = [(x, y) for x, y in np.round(start, 6).tolist()]
    last: list[Point] = [(x, y) for x, y in np.round(end, 6).tolist()]
    areas = (row * districts.columns + column).tolist()
    ids = [f"{course.name}-{i + 1:03d}" for i in range(count)]
    return [
        Segment(
            id=ids[i],
            area=districts.areas[areas[i]].id,
            corridor=course.name,
            position=i,
            road_class=course.road_class,
            lanes=course.lanes[i],
            length_m=lengths[i],
            free_flow_kmh=course.free_flow_kmh,
            line=(first[i], last[i]),
            upstream=(ids[i - 1],) if i else (),
            downstream=(ids[i + 1],) if i + 1 < count else (),
        )
        for i in range(count)
    ]
