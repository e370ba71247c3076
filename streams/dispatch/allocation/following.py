"""What trucks do of their tours, and what containers' sensors say: every change is a version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from civicstream.geo import distance_m
from civicstream.service_events import BinForecast, Tour, TourStop, Unit
from streams.dispatch.allocation.collection_store import (
    BinRecord,
    CollectionSettings,
    CollectionStore,
    TourRecord,
    TruckRecord,
)

__all__ = ["Following", "overflow_of"]

_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000
_PREFIX = "tour/"
_BEFORE_VISIT_MS = 10 * _MINUTE_MS
"""How long before the truck reported it a container may have been seen emptied: clocks differ."""
_UNDER_WAY = frozenset({"assigned", "en_route", "on_site"})


def overflow_of(stops: Sequence[TourStop]) -> float:
    """Return the hours that the containers are full before they are emptied, all together."""
    waits = sum(max(stop.arrival_at - stop.predicted_full_at, 0) for stop in stops)
    return round(waits / _HOUR_MS, 3)


class Following:
    """Keeps the store up to date with what happens on the streets."""

    def __init__(self, store: CollectionStore, settings: CollectionSettings) -> None:
        self._store = store
        self._settings = settings

    def learn(self, forecast: BinForecast) -> None:
        """Take in what is known of a container; an older forecast than known is left out."""
        record = self._store.bins.get(forecast.sensor_key)
        if record is None:
            record = self._store.bins[forecast.sensor_key] = BinRecord(forecast)
        elif forecast.at < record.forecast.at:
            return
        record.forecast = forecast
        full_at = forecast.predicted_full_at
        if full_at is None or full_at > forecast.at:
            record.full_since = None
        elif record.full_since is None:
            record.full_since = full_at
        visited, emptied = record.visited_at, forecast.emptied_at
        if visited and emptied and emptied >= visited - _BEFORE_VISIT_MS:
            record.visited_at = None
        self._store.bins.touch(forecast.sensor_key)

    def follow(self, unit: Unit) -> list[Tour]:
        """Take in what a truck says and return the versions of its tour that follow."""
        truck = self._store.trucks.get(unit.id)
        if truck is None:
            truck = self._store.trucks[unit.id] = TruckRecord(unit, (unit.lon, unit.lat))
        elif unit.at < truck.unit.at:
            return []
        before, truck.unit = truck.unit, unit
        if before.state == "off_duty" and unit.state == "available":
            truck.depot = (unit.lon, unit.lat)
        self._store.trucks.touch(unit.id)
        record = self._store.tours.get(truck.tour or "")
        if record is None:
            return []
        if record.tour.state == "under_way":
            truck.km += _apart_km(before, unit)
        named, stop = _named(unit)
        if unit.state in _UNDER_WAY and named == record.tour.id:
            return self._go_on(record, unit, stop)
        if unit.state == "off_duty" or record.tour.state == "under_way":
            return [self._end(record, unit.at)]
        return []

    def _go_on(self, record: TourRecord, unit: Unit, stop: str) -> list[Tour]:
        out = []
        if record.tour.state == "planned":
            out.append(self.next_version(record, unit.at, "the truck set out", state="under_way"))
        waiting = [
            i
            for i, s in enumerate(record.tour.stops)
            if s.emptied_at is None and str(s.sensor_key) == stop
        ]
        if unit.state == "on_site" and waiting:
            out.append(self._empty(record, waiting[0], unit.at))
        return out

    def _empty(self, record: TourRecord, index: int, at: int) -> Tour:
        stops = list(record.tour.stops)
        bin_ = self._store.bins.get(stops[index].sensor_key)
        full_at = stops[index].predicted_full_at
        if bin_ is not None:
            bin_.visited_at = at
            full_at = bin_.full_since or bin_.forecast.predicted_full_at or full_at
            # Emptied, it is not full since then any more, whatever its sensor says of before.
            bin_.full_since = None
            self._store.bins.touch(stops[index].sensor_key)
        stops[index] = msgspec.structs.replace(
            stops[index], arrival_at=at, emptied_at=at, predicted_full_at=full_at
        )
        done = sum(s.emptied_at is not None for s in stops)
        note = f"{done} of {len(stops)} emptied"
        overflow = overflow_of(stops)
        return self.next_version(record, at, note, stops=stops, overflow_h=overflow)

    def _end(self, record: TourRecord, at: int) -> Tour:
        """Return the last version: finished when every container was emptied."""
        tour = record.tour
        left = sum(s.emptied_at is None for s in tour.stops)
        note = f"given up with {left} of {len(tour.stops)} left" if left else "all emptied"
        state = "withdrawn" if left else "finished"
        last = self.next_version(record, at, note, state=state, ends_at=at)
        truck = self._store.trucks[tour.unit]
        truck.tour = None
        del self._store.tours[tour.id]
        self._store.trucks.touch(tour.unit)
        return last

    def expire(self, now_ms: int) -> list[Tour]:
        """End the tours of trucks that did not set out, or have fallen silent."""
        out = []
        for record in list(self._store.tours.values()):
            tour, truck = record.tour, self._store.trucks[record.tour.unit]
            if tour.state == "planned":
                late = now_ms - tour.planned_at >= self._settings.set_out_within_min * _MINUTE_MS
                if late:
                    bar = round(self._settings.silent_bar_min * _MINUTE_MS)
                    truck.barred_until = now_ms + bar
            else:
                late = now_ms - truck.unit.at >= self._settings.lost_after_min * _MINUTE_MS
            if late:
                out.append(self._end(record, now_ms))
        return out

    def next_version(self, record: TourRecord, at: int, note: str, **changes: Any) -> Tour:
        """Return the tour's next version, kept as what stands."""
        tour = record.tour
        truck = self._store.trucks[tour.unit]
        record.tour = msgspec.structs.replace(
            tour,
            version=tour.version + 1,
            updated_at=max(at, tour.updated_at),
            km_driven=round(truck.km, 3),
            note=note,
            **changes,
        )
        self._store.tours.touch(tour.id)
        return record.tour


def _named(unit: Unit) -> tuple[str, str]:
    """Return the tour and the container that a truck says it goes to; '' where it says none."""
    if unit.task is None or not unit.task.startswith(_PREFIX):
        return "", ""
    tour, _, stop = unit.task.removeprefix(_PREFIX).rpartition("/")
    return tour, stop


def _apart_km(before: Unit, after: Unit) -> float:
    return distance_m(before.lon, before.lat, after.lon, after.lat) / 1_000
