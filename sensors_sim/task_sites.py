"""Where a task that a crew was sent to is, and how long it will really take there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from civicstream.events import Incident as DetectedIncident
from civicstream.geo import distance_m
from civicstream.roads import RoadGraph
from civicstream.service_events import Case
from civicstream.services import ServiceType
from sensors_sim.citizens import CityProblem
from sensors_sim.crews import Site
from sensors_sim.incidents import Incident

__all__ = ["TaskSites"]

_LOOK_AROUND_M = 500.0
"""A crew that finds nothing at the reported place finds what is this near."""

_CLEARING_S = (5 * 60.0, 60 * 60.0)
_REMEMBERED = 20_000


class TaskSites:
    """Learns places from what the city publishes; how much work there is, from the simulation."""

    def __init__(self, graph: RoadGraph, services: Mapping[str, ServiceType]) -> None:
        self.problems: Sequence[CityProblem] = ()
        self.incidents: Sequence[Incident] = ()
        self.now_ms = 0
        """Event time, by which a cleared road is no more work."""
        self._graph = graph
        self._services = services
        self._sent: dict[str, Case | DetectedIncident] = {}
        self._found: dict[str, Site] = {}

    def learn(self, event: Case | DetectedIncident) -> None:
        """Take in where a case or an incident is."""
        name = "case" if isinstance(event, Case) else "incident"
        self._sent[f"{name}/{event.id}"] = event
        while len(self._sent) > _REMEMBERED:
            oldest = next(iter(self._sent))
            del self._sent[oldest]
            self._found.pop(oldest, None)

    def knows(self, task: str) -> bool:
        """Return whether ``site`` has an answer."""
        event = self._sent.get(task)
        return isinstance(event, Case) or (
            event is not None and event.segment in self._graph.city.segment_index
        )

    def site(self, task: str) -> Site:
        """Return the site of a task that is known; the same however often it is asked for."""
        site = self._found.get(task)
        if site is None:
            event = self._sent[task]
            site = self._of_case(event) if isinstance(event, Case) else self._of_incident(event)
            self._found[task] = site
        return site

    def _of_case(self, case: Case) -> Site:
        place = self._graph.snap(np.array([[case.lon, case.lat]]))
        return Site(case.lon, case.lat, place, self._work_s(case))

    def _work_s(self, case: Case) -> float:
        near = [p for p in self.problems if _apart_m(case, p) <= _LOOK_AROUND_M]
        if not near:  # a real person's report: the simulation does not know what is there
            service = self._services.get(case.service)
            return 60 * service.work_min if service else _CLEARING_S[0]
        best = min(near, key=lambda p: (p.service != case.service, _apart_m(case, p)))
        return best.work_s

    def _of_incident(self, incident: DetectedIncident) -> Site:
        index = self._graph.city.segment_index[incident.segment]
        going_on = [
            i for i in self.incidents if i.segment == index and i.start_ms <= self.now_ms < i.end_ms
        ]
        share = going_on[0].position if going_on else 0.5
        left_s = (going_on[0].end_ms - self.now_ms) / 1000 if going_on else 0.0
        place = self._graph.on_segment(np.array([index]), np.array([share]))
        lon, lat = self._graph.lonlat(int(place.edge[0]), float(place.share[0]))
        return Site(lon, lat, place, float(np.clip(left_s, *_CLEARING_S)))


def _apart_m(case: Case, problem: CityProblem) -> float:
    return distance_m(case.lon, case.lat, problem.lon, problem.lat)
