"""The tours: forecasts of containers and messages of trucks in, versions of tours out.

Pure and deterministic: the clock is a parameter. Life of a tour: docs/allocation.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from civicstream.roads import RoadSpeeds
from civicstream.service_events import BinForecast, Tour, TourState, Unit
from streams.dispatch.allocation.collection_plan import (
    Survey,
    better_way,
    full_in_s,
    plan_ways,
    worth_a_look,
)
from streams.dispatch.allocation.collection_store import (
    SKILL,
    BinRecord,
    CollectionSettings,
    CollectionStore,
    TourRecord,
    TruckRecord,
)
from streams.dispatch.allocation.following import Following, overflow_of
from streams.dispatch.allocation.tours import Tour as Way
from streams.dispatch.allocation.tours import Truck

__all__ = ["TourPlanner"]

LonLat = tuple[float, float]

MINUTE_MS = 60_000


class TourPlanner:
    """Knows containers, trucks and the tours that stand."""

    def __init__(self, settings: CollectionSettings | None = None) -> None:
        self.settings = settings or CollectionSettings()
        self._store = CollectionStore()
        self._following = Following(self._store, self.settings)
        self._looked_at = 0
        self._speeds: RoadSpeeds | None = None

    def take_speeds(self, speeds: RoadSpeeds) -> None:
        """Plan with these from now on; without any, tours are followed and not planned."""
        self._speeds = speeds

    def apply(self, event: BinForecast | Unit, _now_ms: int) -> list[Tour]:
        """Take in what is known of a container or what a truck says; return what it changes."""
        if isinstance(event, Unit):
            return self._following.follow(event) if SKILL in event.skills else []
        self._following.learn(event)
        return []

    def tick(self, now_ms: int) -> list[Tour]:
        """Return the tours that time makes due: given up, changed under way, and new ones."""
        speeds = self._speeds
        if speeds is None or now_ms - self._looked_at < self.settings.look_every_s * 1000:
            return []
        self._looked_at = now_ms
        out = self._following.expire(now_ms)
        out += self._revise(now_ms, speeds)
        return out + self._plan(now_ms, speeds)

    def _revise(self, now_ms: int, speeds: RoadSpeeds) -> list[Tour]:
        out = []
        for record in list(self._store.tours.values()):
            since = now_ms - record.looked_at
            if record.tour.state == "under_way" and since >= self.settings.revise_every_s * 1000:
                record.looked_at = now_ms
                self._store.tours.touch(record.tour.id)
                out += self._revise_one(record, now_ms, speeds)
        return out

    def _revise_one(self, record: TourRecord, now_ms: int, speeds: RoadSpeeds) -> list[Tour]:
        """Return the tour's next version if it pays to go on otherwise."""
        tour, truck = record.tour, self._store.trucks[record.tour.unit]
        done = [s for s in tour.stops if s.emptied_at is not None]
        left = [s.sensor_key for s in tour.stops if s.emptied_at is None]
        if not left or truck.unit.state == "on_site":
            return []
        candidates = [self._store.bins[key] for key in left]
        candidates += self._wanted(now_ms, truck.depot)
        here = (truck.unit.lon, truck.unit.lat)
        survey = Survey.of(speeds, here, truck.depot, candidates, now_ms)
        kept = [int(name) for name in survey.bins.ids]
        room = Truck(
            tour.unit,
            tour.capacity - sum(s.load for s in done),
            max(truck.unit.shift_end - now_ms, 0) / 1000,
        )
        stops = [kept.index(key) for key in left if key in kept]
        way = better_way(survey, room, stops, self.settings)
        if way is None or [kept[i] for i in way.stops] == left:
            return []
        new = [*done, *survey.stops_of(way)]
        return [
            self._following.next_version(
                record,
                now_ms,
                "going on otherwise saves more than it costs",
                stops=new,
                ends_at=now_ms + round(way.end_s * 1000),
                load=round(sum(s.load for s in new), 3),
                km=round(truck.km + survey.km(way.stops), 3),
                overflow_h=overflow_of(new),
            )
        ]

    def _plan(self, now_ms: int, speeds: RoadSpeeds) -> list[Tour]:
        out: list[Tour] = []
        idle: dict[LonLat, list[TruckRecord]] = defaultdict(list)
        for unit in sorted(self._store.trucks):
            truck = self._store.trucks[unit]
            free = truck.unit.state == "available" and truck.tour is None
            if free and truck.barred_until <= now_ms < truck.unit.shift_end:
                idle[_rounded(truck.depot)].append(truck)
        for trucks in idle.values():
            wanted = self._wanted(now_ms, trucks[0].depot)
            if worth_a_look(wanted, trucks[0].unit.capacity, now_ms, self.settings):
                depot = trucks[0].depot
                survey = Survey.of(speeds, depot, depot, wanted, now_ms)
                able = [_truck(truck, now_ms) for truck in trucks]
                ways = plan_ways(survey, able, self.settings)
                out += [self._open(survey, way, now_ms) for way in ways.values()]
        return out

    def _wanted(self, now_ms: int, depot: LonLat) -> list[BinRecord]:
        """Return the containers of the depot that will be full soon and that no tour has."""
        taken = {s.sensor_key for r in self._store.tours.values() for s in r.tour.stops}
        limit_s = self.settings.next_visit_h * 3600
        depots = sorted({_rounded(t.depot) for t in self._store.trucks.values()})
        own = depots.index(_rounded(depot))
        found = [
            record
            for key, record in sorted(self._store.bins.items())
            if key not in taken
            and full_in_s(record, now_ms) <= limit_s
            and not self._believed_empty(record, now_ms)
            and _nearest(depots, record.forecast) == own
        ]
        return sorted(found, key=lambda r: full_in_s(r, now_ms))[: self.settings.most_stops]

    def _believed_empty(self, record: BinRecord, now_ms: int) -> bool:
        visited = record.visited_at
        patience = self.settings.visit_believed_min * MINUTE_MS
        return visited is not None and now_ms - visited < patience

    def _open(self, survey: Survey, way: Way, now_ms: int) -> Tour:
        truck = self._store.trucks[way.truck]
        stops = survey.stops_of(way)
        state: TourState = "planned"
        tour = Tour(
            id=f"{way.truck}-{now_ms}",
            version=1,
            state=state,
            unit=way.truck,
            area=truck.unit.area,
            planned_at=now_ms,
            updated_at=now_ms,
            ends_at=now_ms + round(way.end_s * 1000),
            stops=stops,
            capacity=truck.unit.capacity,
            load=round(way.load, 3),
            km=round(survey.km(way.stops), 3),
            km_driven=0.0,
            overflow_h=overflow_of(stops),
            note=f"{len(stops)} containers are full or will be before the next visit",
        )
        truck.tour, truck.km = tour.id, 0.0
        self._store.tours[tour.id] = TourRecord(tour, now_ms)
        self._store.trucks.touch(way.truck)
        return tour

    def changed(self) -> dict[str, bytes | None]:
        """Return the state's items changed since the last call; None for those to be deleted."""
        return self._store.changed()

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave; raise DataError for others."""
        self._store.restore(items)


def _truck(truck: TruckRecord, now_ms: int) -> Truck:
    left_s = max(truck.unit.shift_end - now_ms, 0) / 1000
    return Truck(truck.unit.id, truck.unit.capacity, left_s)


def _rounded(place: LonLat) -> LonLat:
    """Return the place to 0.001 degrees: trucks of one yard have one depot."""
    return round(place[0], 3), round(place[1], 3)


def _nearest(depots: list[LonLat], bin_: BinForecast) -> int:
    """Return the index of the depot nearest to a container; 0 where its place is not known."""
    if bin_.lon is None or bin_.lat is None:
        return 0
    apart = np.array(depots) - (bin_.lon, bin_.lat)
    return int(np.hypot(apart[:, 0] * np.cos(np.radians(bin_.lat)), apart[:, 1]).argmin())
