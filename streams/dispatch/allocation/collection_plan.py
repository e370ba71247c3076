"""One plan of tours on the roads: from where trucks are, over the containers, to the depot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from civicstream.roads import RoadSpeeds, Trips, find_trips
from civicstream.service_events import TourStop
from streams.dispatch.allocation.collection_store import BinRecord, CollectionSettings
from streams.dispatch.allocation.tours import (
    Bins,
    Truck,
    drive,
    length,
    overflow_h,
    plan_collection,
)
from streams.dispatch.allocation.tours import Tour as Way

__all__ = ["Survey", "better_way", "full_in_s", "plan_ways", "worth_a_look"]

Floats = NDArray[np.float64]
LonLat = tuple[float, float]

HOUR_MS = 3_600_000
_PLANNING_KMH = 30.0
"""Ways are compared by time, as kilometres at this speed; published are those of the roads."""
_LEAST_LOAD = 0.05


@dataclass(frozen=True)
class Survey:
    """The containers that a plan looks at and the ways between them, at a time."""

    records: list[BinRecord]
    bins: Bins
    trips: Trips
    at: int

    @classmethod
    def of(
        cls, speeds: RoadSpeeds, start: LonLat, depot: LonLat, records: Sequence[BinRecord], at: int
    ) -> Survey:
        """Return the survey of those that can be reached from ``start`` and left to ``depot``."""
        known = [r for r in records if r.forecast.lon is not None and r.forecast.lat is not None]
        there = [(r.forecast.lon, r.forecast.lat) for r in known]
        graph = speeds.graph
        origins = graph.snap(np.array([start, *there], np.float64))
        goals = graph.snap(np.array([depot, *there], np.float64))
        trips = find_trips(speeds, origins, goals)
        # What cannot be reached is as far as the end of the world, so no plan goes there.
        seconds = np.where(np.isfinite(trips.seconds), trips.seconds, 1e7)
        bins = Bins(
            [str(r.forecast.sensor_key) for r in known],
            np.array([full_in_s(r, at) for r in known]),
            np.array([_load(r, at) for r in known]),
            seconds,
            seconds / 3600 * _PLANNING_KMH,
        )
        return cls(known, bins, trips, at)

    def km(self, stops: list[int]) -> float:
        """Return the kilometres on the roads of start, stops, depot."""
        way = [0, *(s + 1 for s in stops), 0]
        legs = (self.trips.route(a, b) for a, b in pairwise(way))
        return sum(leg.length_m for leg in legs if leg is not None) / 1000

    def stops_of(self, way: Way) -> list[TourStop]:
        """Return the stops as the event tells them."""
        return [
            self._stop(i, self.at + round(arrival * 1000))
            for i, arrival in zip(way.stops, way.arrival_s, strict=True)
        ]

    def _stop(self, index: int, arrival_at: int) -> TourStop:
        record = self.records[index]
        forecast = record.forecast
        full_at = self.at + round(1000 * min(float(self.bins.full_in_s[index]), 1e9))
        return TourStop(
            sensor_key=forecast.sensor_key,
            sensor=forecast.sensor,
            lon=forecast.lon or 0.0,
            lat=forecast.lat or 0.0,
            arrival_at=arrival_at,
            predicted_full_at=record.full_since or full_at,
            load=round(float(self.bins.load[index]), 3),
        )


def full_in_s(record: BinRecord, at: int) -> float:
    """Return the seconds until the container is full, below 0 since it is; infinite: not soon."""
    full_at = record.full_since or record.forecast.predicted_full_at
    return np.inf if full_at is None else (full_at - at) / 1000


def _load(record: BinRecord, at: int) -> float:
    forecast = record.forecast
    since_h = max(at - forecast.at, 0) / HOUR_MS
    return float(
        np.clip(forecast.level + max(forecast.fill_per_h, 0.0) * since_h, _LEAST_LOAD, 1.0)
    )


def worth_a_look(
    records: list[BinRecord], capacity: float, at: int, settings: CollectionSettings
) -> bool:
    """Whether any truck of this capacity could be worth setting out, wherever they all are."""
    soonest = min((full_in_s(r, at) for r in records), default=np.inf)
    filled = sum(_load(r, at) for r in records) / max(capacity, _LEAST_LOAD)
    return soonest <= settings.urgent_min * 60 or filled >= settings.worth_capacity


def plan_ways(survey: Survey, trucks: list[Truck], settings: CollectionSettings) -> dict[str, Way]:
    """Return the first way of each truck that is worth setting out for."""
    horizon_s = settings.next_visit_h * 3600
    found: dict[str, Way] = {}
    capacity = {truck.id: truck.capacity for truck in trucks}
    for way in plan_collection(survey.bins, trucks, horizon_s, settings.stop_s).tours:
        if way.truck in found or survey.bins.seconds[0, way.stops[0] + 1] >= 1e7:
            continue
        soonest = float(survey.bins.full_in_s[way.stops].min())
        filled = way.load / capacity[way.truck]
        if soonest <= settings.urgent_min * 60 or filled >= settings.worth_capacity:
            found[way.truck] = way
    return found


def better_way(
    survey: Survey, truck: Truck, kept: list[int], settings: CollectionSettings
) -> Way | None:
    """Return a way for a truck under way that beats going on with ``kept`` by the margin."""
    horizon_s = settings.next_visit_h * 3600
    planned = plan_collection(survey.bins, [truck], horizon_s, settings.stop_s).tours
    if not planned:
        return None
    best = planned[0]
    now = drive(survey.bins, truck.id, kept, 0.0, settings.stop_s)
    saved = _cost(survey.bins, now, horizon_s, settings) - _cost(
        survey.bins, best, horizon_s, settings
    )
    return best if saved > settings.margin_km else None


def _cost(bins: Bins, way: Way, horizon_s: float, settings: CollectionSettings) -> float:
    """Return kilometres, and hours of overflow as kilometres."""
    waits = overflow_h(bins, [way], horizon_s)
    return length(bins.km, way.stops) + settings.overflow_km_per_h * waits
