"""A seeded city of any size: districts, roads, and sensors of every kind."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City, Segment, Sensors
from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS
from sensors_sim.districts import Districts, lay_out_districts
from sensors_sim.road_plan import Budget, plan_roads

__all__ = ["plan_city", "sensors_per_kind"]

_FREEWAY_SHARE = 0.4
"""Share of the detectors that are on freeways."""

_BY_LANE_FROM = 500
"""Cities with this many detectors have one on every lane, smaller ones one per segment."""

_AREAS_EXPONENT = 2 / 3
"""Areas grow slower than sensors: 25 for a thousand, 2,500 for a million, which then make
2,500 traffic results a minute."""

_MINIMUM = 20
_Column = NDArray[np.intp]


def sensors_per_kind(sensors: int) -> dict[str, int]:
    """Return how many of ``sensors`` each kind has: its share, at least one, the rest traffic."""
    if sensors < _MINIMUM:
        raise ConfigurationError(
            f"--sensors {sensors}: a city needs at least {_MINIMUM} sensors to have every kind"
        )
    counts = {name: max(1, int(sensors * kind.share)) for name, kind in KINDS.items()}
    counts["traffic"] += sensors - sum(counts.values())
    if counts["traffic"] < 1:
        raise ConfigurationError(
            "the shares of the kinds in civicstream/kinds.py leave none for traffic; make them "
            "smaller"
        )
    return counts


def plan_city(sensors: int, seed: int) -> City:
    """Return the city of ``seed`` with exactly ``sensors`` sensors; the same one every time."""
    rng = np.random.default_rng([seed, sensors])
    counts = sensors_per_kind(sensors)
    districts = lay_out_districts(_areas(sensors), rng)
    freeway = int(counts["traffic"] * _FREEWAY_SHARE)
    budget = Budget(freeway, counts["traffic"] - freeway, counts["traffic"] >= _BY_LANE_FROM)
    segments = plan_roads(districts, budget, rng)
    detectors = _detectors(segments, districts, budget)
    others = [_spread(k, counts[k], districts, rng) for k in KINDS if k != "traffic"]
    return City(districts.areas, tuple(segments), _join([detectors, *others]))


def _areas(sensors: int) -> int:
    return max(4, round(0.25 * math.pow(sensors, _AREAS_EXPONENT)))


def _detectors(segments: list[Segment], districts: Districts, budget: Budget) -> Sensors:
    """Put detectors on the segments: one per lane, numbered from the median, or one for all."""
    freeway = [i for i, s in enumerate(segments) if s.road_class == "freeway"]
    street = [i for i, s in enumerate(segments) if s.road_class == "street"]
    parts = [
        _on_segments(np.array(which, np.intp), segments, budget.by_lane, wanted)
        for which, wanted in (
            (freeway, budget.freeway_detectors),
            (street, budget.street_detectors),
        )
    ]
    segment = np.concatenate([part[0] for part in parts])
    lane = np.concatenate([part[1] for part in parts])
    area_index = {area.id: i for i, area in enumerate(districts.areas)}
    middle = np.array([np.mean(s.line, axis=0) for s in segments]).reshape(-1, 2)
    place = np.round(middle[segment], 6)
    return Sensors(
        ids=[
            f"{segments[s].id}-{f'l{n}' if n else 'all'}"
            for s, n in zip(segment.tolist(), lane.tolist(), strict=True)
        ],
        kind=_kind_column("traffic", len(segment)),
        area=np.array([area_index[s.area] for s in segments], np.int32)[segment],
        segment=segment.astype(np.int32),
        lane=lane.astype(np.int16),
        interval_s=np.full(len(segment), float(KINDS["traffic"].default_interval_s)),
        lon=place[:, 0].copy(),
        lat=place[:, 1].copy(),
    )


def _on_segments(
    which: _Column, segments: list[Segment], by_lane: bool, wanted: int
) -> tuple[_Column, _Column]:
    """Return segment index and lane of the first ``wanted`` detectors on these segments."""
    if not by_lane:
        return which[:wanted], np.zeros(min(wanted, len(which)), np.intp)
    lanes = np.array([segments[i].lanes for i in which.tolist()], np.intp)
    segment = np.repeat(which, lanes)
    first = np.repeat(np.cumsum(lanes) - lanes, lanes)
    lane = np.arange(len(segment)) - first + 1
    return segment[:wanted], lane[:wanted]


def _spread(kind: str, count: int, districts: Districts, rng: np.random.Generator) -> Sensors:
    """Spread ``count`` sensors of a kind evenly over the districts, at random places in each."""
    total = districts.rows * districts.columns
    area = np.floor((np.arange(count) + rng.random()) * total / count).astype(np.intp) % total
    row, column = np.divmod(area, districts.columns)
    u, v = rng.uniform(0.05, 0.95, (2, count))
    place = np.round(districts.place(row, column, u, v), 6)
    digits = max(3, int(math.log10(max(count, 1))) + 1)
    return Sensors(
        ids=[f"{kind}-{i + 1:0{digits}d}" for i in range(count)],
        kind=_kind_column(kind, count),
        area=area.astype(np.int32),
        segment=np.full(count, -1, np.int32),
        lane=np.zeros(count, np.int16),
        interval_s=np.full(count, float(KINDS[kind].default_interval_s)),
        lon=place[:, 0].copy(),
        lat=place[:, 1].copy(),
    )


def _kind_column(kind: str, count: int) -> NDArray[np.int16]:
    return np.full(count, Sensors.kind_names.index(kind), np.int16)


def _join(parts: list[Sensors]) -> Sensors:
    columns = ("kind", "area", "segment", "lane", "interval_s", "lon", "lat")
    return Sensors(
        ids=[i for part in parts for i in part.ids],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
    )
