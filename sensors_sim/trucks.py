"""Simulated waste trucks: they drive the tours they are given, empty containers, and go home.

Driven by the clock like crews: ``receive`` takes a version of a tour, ``advance`` moves on and
returns what the truck reports.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.roads import RoadGraph, RoadSpeeds
from civicstream.service_events import Tour, TourStop, Unit, UnitState
from sensors_sim.crew_roster import next_shift
from sensors_sim.crews import CrewPlan
from sensors_sim.driving import Driver

__all__ = ["CAPACITY", "Truck", "plan_trucks"]

Floats = NDArray[np.float64]

CAPACITY = 40.0
"""Containers that fit in a truck: 1.1 m³ each, pressed together four to one, in 11 m³."""
_SKILL = "bin_collection"
_STOP_S = 120.0
_SHIFT_MS = 8 * 3_600_000
_DRIVING_REPORT_MS, _STANDING_REPORT_MS = 15_000, 60_000
_DEPOT = "depot"


def plan_trucks(city: City, trucks: int, seed: int, now_ms: int) -> list[CrewPlan]:
    """Return trucks of one depot, on duty at ``now_ms``, their shifts ending in turn."""
    rng = np.random.default_rng([seed, 0x7B])
    segment = city.segments[int(rng.integers(len(city.segments)))]
    lon, lat = np.array(segment.line, np.float64).mean(axis=0).tolist()
    begins = [now_ms - number * _SHIFT_MS // (2 * trucks) for number in range(trucks)]
    return [
        CrewPlan(
            id=f"truck-{number + 1}",
            area=segment.area,
            skills=(_SKILL,),
            lon=round(lon, 6),
            lat=round(lat, 6),
            shift_start=begin,
            shift_end=begin + _SHIFT_MS,
            capacity=CAPACITY,
        )
        for number, begin in enumerate(begins)
    ]


class Truck:
    """``empty`` takes a container's sensor key and the time, and returns what was in it."""

    def __init__(
        self, plan: CrewPlan, graph: RoadGraph, empty: Callable[[int, int], float], now_ms: int
    ) -> None:
        self.plan = plan
        self.state: UnitState = "off_duty"
        self.load = 0.0
        self._graph = graph
        self._empty = empty
        self._driver = Driver(graph, (plan.lon, plan.lat))
        self._clock = now_ms
        self._tour: Tour | None = None
        self._stops: list[TourStop] = []
        """Still to be gone to, in order."""
        self._at: TourStop | None = None
        """The one it stands at."""
        self._task: str | None = None
        self._work_until = 0
        self._reported_at = -_STANDING_REPORT_MS

    @property
    def km(self) -> float:
        """Driven so far."""
        return self._driver.km

    def receive(self, tour: Tour, speeds: RoadSpeeds, now_ms: int) -> list[Unit]:
        """Take in a version of a tour of this truck."""
        current = self._tour
        if current is not None and current.id == tour.id and tour.version < current.version:
            return []
        if tour.state in {"finished", "withdrawn"}:
            return self._drop(now_ms) if current is not None and current.id == tour.id else []
        if self.state == "off_duty" or (current is not None and current.id != tour.id):
            return []
        goal = self._stops[0].sensor_key if self._stops else None
        self._tour = tour
        mine = {s.sensor_key for s in self._stops} if current is not None else set()
        known = {s.sensor_key for s in current.stops} if current is not None else set()
        # What was emptied since that version was made is not in ``mine`` any more.
        self._stops = [
            s
            for s in tour.stops
            if s.emptied_at is None and (s.sensor_key in mine or s.sensor_key not in known)
        ]
        new_goal = self._stops[0].sensor_key if self._stops else None
        if self.state == "on_site" or (current is not None and new_goal == goal):
            return []
        return self._go_on(speeds, now_ms)

    def _drop(self, now_ms: int) -> list[Unit]:
        self._driver.stop()
        self._tour, self._stops, self._at = None, [], None
        return [self._report("available", now_ms, None)]

    def advance(self, now_ms: int, seconds: Floats, speeds: RoadSpeeds) -> list[Unit]:
        """Move on to ``now_ms``; ``seconds`` [e] is what each edge really takes now."""
        out: list[Unit] = []
        if self._driver.under_way:
            left_s = self._driver.move((now_ms - self._clock) / 1000, seconds)
            if left_s is not None:
                out.append(self._arrive(now_ms - round(left_s * 1000)))
        elif self.state == "on_site" and now_ms >= self._work_until:
            if self._at is not None:
                self.load += self._empty(self._at.sensor_key, self._work_until)
            self._at = None
            out += self._go_on(speeds, now_ms)
        self._clock = now_ms
        out += self._keep_shift(now_ms)
        pause = _STANDING_REPORT_MS if self.state == "available" else _DRIVING_REPORT_MS
        if not out and self.state != "off_duty" and now_ms - self._reported_at >= pause:
            out.append(self._report(self.state, now_ms, self._task))
        return out

    def _go_on(self, speeds: RoadSpeeds, now_ms: int) -> list[Unit]:
        """Set off to the next container that a road leads to, or home."""
        while self._stops:
            stop = self._stops[0]
            lonlat = (stop.lon, stop.lat)
            if self._driver.set_off(self._graph.snap(np.array([lonlat])), lonlat, speeds):
                return [self._report("en_route", now_ms, self._named(str(stop.sensor_key)))]
            self._stops.pop(0)
        home = (self.plan.lon, self.plan.lat)
        if self._driver.set_off(self._graph.snap(np.array([home])), home, speeds):
            return [self._report("en_route", now_ms, self._named(_DEPOT))]
        return self._drop(now_ms)

    def _named(self, stop: str) -> str | None:
        return None if self._tour is None else f"tour/{self._tour.id}/{stop}"

    def _arrive(self, at_ms: int) -> Unit:
        if self._stops:
            self._at = self._stops.pop(0)
            self._work_until = at_ms + round(_STOP_S * 1000)
            return self._report("on_site", at_ms, self._named(str(self._at.sensor_key)))
        self._tour, self.load = None, 0.0
        return self._report("available", at_ms, None)

    def _keep_shift(self, now_ms: int) -> list[Unit]:
        if self.state == "available" and now_ms >= self.plan.shift_end:
            ended = self._report("off_duty", now_ms, None)
            while self.plan.shift_end <= now_ms:
                self.plan = next_shift(self.plan)
            return [ended]
        if self.state == "off_duty" and now_ms >= self.plan.shift_start:
            return [self._report("available", now_ms, None)]
        return []

    def _report(self, state: UnitState, at_ms: int, task: str | None) -> Unit:
        self.state, self._task, self._reported_at = state, task, at_ms
        plan, (lon, lat) = self.plan, self._driver.lonlat
        return Unit(
            id=plan.id,
            area=plan.area,
            state=state,
            skills=list(plan.skills),
            lon=round(lon, 6),
            lat=round(lat, 6),
            shift_end=plan.shift_end,
            capacity=plan.capacity,
            load=round(self.load, 3),
            at=at_ms,
            task=task,
        )
