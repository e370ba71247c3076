"""A simulated day of a city's crews: what arises, who is on duty, how the roads are.

Everything here is the same for every policy: the problems and their work, the incidents and the
congestion they cause, the shifts, the speeds that the dispatcher gets and the true ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.roads import RoadGraph, RoadSpeeds
from civicstream.roads.graph import LOCAL_KMH
from civicstream.service_events import Task
from civicstream.services import ServiceType, load_services
from sensors_sim.citizens import CitizenPlan, shares_of
from sensors_sim.city_plan import plan_city
from sensors_sim.crews import CrewPlan, Site
from sensors_sim.incidents import Incident
from sensors_sim.road_traffic import RoadTraffic

__all__ = ["DAY_MS", "Day", "Roads", "make_day"]

Floats = NDArray[np.float64]

HOUR_MS, DAY_MS, MINUTE_MS = 3_600_000, 86_400_000, 60_000
START_MS = 1_773_100_800_000
"""Tuesday, 10 March 2026, 0:00 UTC."""

DRAIN_MS = 6 * HOUR_MS
SENSORS = 2_000
INCIDENTS_PER_HOUR = 1.0
_CREWS = 36
"""On a day shift."""

_NIGHT_SHARE = 1 / 3
"""Crews at night, as a share of those on a day shift."""

_CREW_TYPES: dict[str, tuple[str, ...]] = {
    "road": ("road", "gritting", "pump"),
    "light": ("electric",),
    "clean": ("cleaning", "waste"),
    "patrol": ("patrol",),
    "water": ("water", "pump"),
    "green": ("tree", "road", "cleaning"),
    "tow": ("tow", "patrol"),
}
_NIGHT_CREWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("duty", ("road", "gritting", "pump", "water", "tree", "cleaning")),
    ("signal", ("electric", "patrol", "tow")),
)
"""At night few crews do everything."""

_DRIVE_MIN = 16.0
"""Driving per task by which the load is set; the figures show what it really was."""

_TARGET_MIN = {1: 20.0, 2: 60.0, 3: 240.0, 4: 480.0}
_DETECTION_MS = 3 * MINUTE_MS
_MEASURED_NOISE = 0.05
_FORGETTING = 0.8
"""The forecast of the bench: what differs from free flow now fades by this each quarter."""


@dataclass(frozen=True)
class Arising:
    """A task and its true site, from ``at`` on known to the dispatcher."""

    at: int
    task: Task
    site: Site
    more_reports: tuple[int, ...] = ()
    """When others report the same."""


@dataclass(frozen=True)
class Roads:
    """True speeds by minute [minutes, segments], and what else is true of the roads."""

    graph: RoadGraph
    speed_kmh: NDArray[np.float32]
    local_factor: Floats
    """[e] true time on a road outside the model, as a multiple of the assumed one."""
    noise: Floats
    """[e.g. 97, segments]: measuring errors, taken in turn."""

    def seconds(self, now_ms: int) -> Floats:
        """Return what each edge really takes now [e]."""
        graph = self.graph
        speed = np.maximum(self._at(now_ms), 4.0)
        road = np.where(graph.segment < 0, LOCAL_KMH, speed[graph.segment])
        seconds: Floats = graph.length_m / (road / 3.6) * self.local_factor
        return seconds

    def known(self, now_ms: int) -> RoadSpeeds:
        """Return what the dispatcher knows: the minute before, measured, and a forecast of it."""
        minute = (now_ms - START_MS) // MINUTE_MS
        measured = self._at(now_ms - MINUTE_MS) * (1 + self.noise[minute % len(self.noise)])
        free = np.array([s.free_flow_kmh for s in self.graph.city.segments])
        ahead = {
            minutes: free + (measured - free) * _FORGETTING ** (minutes / 15)
            for minutes in (15, 30, 45, 60)
        }
        return RoadSpeeds.of(self.graph, measured, ahead)

    def _at(self, now_ms: int) -> Floats:
        minute = max(0, min((now_ms - START_MS) // MINUTE_MS, len(self.speed_kmh) - 1))
        speed: Floats = self.speed_kmh[minute].astype(np.float64)
        return speed


@dataclass(frozen=True)
class Day:
    """All that a policy meets."""

    seed: int
    roads: Roads
    arising: list[Arising]
    crews: list[CrewPlan]
    end_ms: int

    @property
    def city(self) -> City:
        return self.roads.graph.city


def make_day(seed: int, load: float, sensors: int = SENSORS) -> Day:
    """Return the day of ``seed``; ``load`` is the share of crew time that the tasks ask for."""
    city = plan_city(sensors, seed)
    graph = RoadGraph(city)
    services = load_services()
    traffic, speeds = _drive_traffic(city, seed)
    rng = np.random.default_rng([seed, 0xDA])
    roads = Roads(
        graph,
        speeds,
        np.where(graph.segment < 0, rng.lognormal(0.05, 0.2, len(graph.segment)), 1.0),
        rng.normal(0, _MEASURED_NOISE, (97, len(city.segments))),
    )
    incidents = [i for i in traffic.incidents if i.start_ms < START_MS + DAY_MS]
    per_hour, counts = _dimension(services, len(incidents), load)
    plan = CitizenPlan(city, services, seed, per_hour)
    arising = [
        *_from_incidents(incidents, graph, city),
        *_from_citizens(plan, services, graph),
    ]
    return Day(
        seed,
        roads,
        sorted(arising, key=lambda a: (a.at, a.task.id)),
        _crews(counts, city, rng),
        START_MS + DAY_MS + DRAIN_MS,
    )


def _drive_traffic(city: City, seed: int) -> tuple[RoadTraffic, NDArray[np.float32]]:
    traffic = RoadTraffic(city, seed, START_MS, INCIDENTS_PER_HOUR)
    minutes = (DAY_MS + DRAIN_MS) // MINUTE_MS
    speeds = np.zeros((minutes, len(city.segments)), np.float32)
    for minute in range(minutes):
        traffic.advance_to(START_MS + minute * MINUTE_MS)
        speeds[minute] = traffic.state().speed_kmh
    return traffic, speeds


def _dimension(
    services: dict[str, ServiceType], incidents: int, load: float
) -> tuple[float, dict[str, int]]:
    """Return problems per hour, and crews of each type by the work of their skills.

    The crew hours of a day are two full shifts and a night of a third.
    """
    minutes = dict.fromkeys(_CREW_TYPES, 0.0)
    urgent = dict.fromkeys(_CREW_TYPES, 0.0)
    for service, part in zip(services.values(), shares_of(services).tolist(), strict=True):
        name = next(n for n, skills in _CREW_TYPES.items() if service.skill in skills)
        takes = part * (service.work_min + _DRIVE_MIN)
        minutes[name] += takes
        urgent[name] += takes if service.priority <= 2 else 0.0
    per_task = sum(minutes.values())
    of_incidents = incidents * (_INCIDENT_WORK_MIN + _DRIVE_MIN)
    available_h = _CREWS * 8 * (2 + _NIGHT_SHARE)
    per_day = max(load * available_h * 60 - of_incidents, 0.0) / per_task
    needed = {}
    for name in _CREW_TYPES:
        extra = of_incidents if name == "tow" else 0.0
        wanted = minutes[name] * per_day + extra
        share = (urgent[name] * per_day + extra) / max(wanted, 1e-9)
        offered = wanted / 60 / (available_h / _CREWS)
        # Square-root staffing (Halfin and Whitt 1981): small groups need more to spare than
        # large ones, and those with urgent work more than those without.
        needed[name] = offered + (0.5 + 2 * share) * offered**0.5
    total = sum(needed.values())
    counts = {n: max(2, round(_CREWS * a / total)) for n, a in needed.items()}
    return per_day / 24, counts


_INCIDENT_WORK_MIN = 30.0


def _from_incidents(incidents: list[Incident], graph: RoadGraph, city: City) -> list[Arising]:
    found = []
    for incident in incidents:
        segment = city.segments[incident.segment]
        place = graph.on_segment(np.array([incident.segment]), np.array([incident.position]))
        lon, lat = graph.lonlat(int(place.edge[0]), float(place.share[0]))
        at = incident.start_ms + _DETECTION_MS
        work_s = float(np.clip((incident.end_ms - incident.start_ms) / 1000, 600, 3600))
        task = Task(
            id=f"incident/{incident.id}",
            area=segment.area,
            lon=lon,
            lat=lat,
            skill="tow",
            priority=1 if incident.severity >= 0.7 else 2,
            weight=1.0,
            opened_at=at,
            due_at=at + round(_TARGET_MIN[1 if incident.severity >= 0.7 else 2] * MINUTE_MS),
            work_s=_INCIDENT_WORK_MIN * 60,
            segment=segment.id,
        )
        found.append(Arising(at, task, Site(lon, lat, place, work_s)))
    return found


def _from_citizens(
    plan: CitizenPlan, services: dict[str, ServiceType], graph: RoadGraph
) -> list[Arising]:
    found = []
    for problem in plan.starting_between(START_MS, START_MS + DAY_MS):
        service = services[problem.service]
        first = problem.reports[0]
        place = graph.snap(np.array([[problem.lon, problem.lat]]))
        task = Task(
            id=f"case/{problem.id}",
            area=problem.area,
            lon=first.lon,
            lat=first.lat,
            skill=service.skill,
            priority=service.priority,
            weight=1.0,
            opened_at=first.at,
            due_at=first.at + round(_TARGET_MIN[service.priority] * MINUTE_MS),
            work_s=service.work_min * 60,
        )
        site = Site(problem.lon, problem.lat, place, problem.work_s)
        found.append(Arising(first.at, task, site, tuple(r.at for r in problem.reports[1:])))
    return found


def _crews(counts: dict[str, int], city: City, rng: np.random.Generator) -> list[CrewPlan]:
    found = []
    night = {name: round(_CREWS * _NIGHT_SHARE / len(_NIGHT_CREWS)) for name, _ in _NIGHT_CREWS}
    skills = {**_CREW_TYPES, **dict(_NIGHT_CREWS)}
    for start_h, name, crews in (
        (-2, "n0", night),
        (6, "a", counts),
        (14, "b", counts),
        (22, "n1", night),
    ):
        for kind, count in crews.items():
            for number in range(count):
                segment = city.segments[int(rng.integers(len(city.segments)))]
                lon, lat = np.array(segment.line).mean(axis=0).tolist()
                # Staggered by half hours: a city whose crews all change at once has none then.
                begin = START_MS + start_h * HOUR_MS + (number % 4) * HOUR_MS // 2
                found.append(
                    CrewPlan(
                        id=f"{kind}-{name}{number + 1}",
                        area=segment.area,
                        skills=skills[kind],
                        lon=lon,
                        lat=lat,
                        shift_start=begin,
                        shift_end=begin + 8 * HOUR_MS,
                    )
                )
    return found
