"""Which reports the citizens of a running simulation send, and when; the same every run.

Problems come from the plan of the city and from its road incidents. On top of them: messages
sent twice, reports of nothing, and one client that floods the city.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from civicstream.city import City
from civicstream.local_time import LocalOffset, local_offset
from civicstream.services import ServiceType
from sensors_sim.citizens import HOUR_MS, CitizenPlan, CityProblem, SentReport
from sensors_sim.incidents import Incident

__all__ = ["ABUSER", "Citizens"]

ABUSER = "phone-abuse"

_PROBLEMS_PER_CITIZEN_H = 0.04
"""One a day: far more than people really report, so that a small city shows something soon."""

_BEFORE_MS = 4 * HOUR_MS
"""Problems up to this time before the start are still being reported."""

_REMEMBERED_MS = 3 * 24 * HOUR_MS
"""A crew may come days after a problem arose."""

_RESENT, _OF_NOTHING = 0.06, 0.05
_RESENT_AFTER_MS = (2_000, 60_000)

_SEEN_BY_CITIZENS = 0.7
"""Share of the road incidents that somebody reports."""

_INCIDENT_REPORTED_AFTER_MS = 4 * 60_000
_INCIDENT_WORK_S = 30 * 60.0

_LOOKING_S = 5 * 60.0
"""Of a crew, to see that there is nothing."""

_FLOOD_FIRST_MS, _FLOOD_EVERY_MS, _FLOOD_LASTS_MS = 5 * 60_000, 6 * HOUR_MS, 5 * 60_000
_FLOOD_REPORTS = 60


class Citizens:
    """``citizens`` phones; ``problems`` is the truth behind what they report."""

    def __init__(
        self,
        city: City,
        services: Mapping[str, ServiceType],
        seed: int,
        citizens: int,
        start_ms: int,
        local: LocalOffset = local_offset("UTC"),
    ) -> None:
        """``start_ms``: reports from then on; ``citizens`` is at least 1."""
        self.problems: list[CityProblem] = []
        self._city, self._services, self._seed = city, services, seed
        self._citizens = citizens
        self._plan = CitizenPlan(city, services, seed, citizens * _PROBLEMS_PER_CITIZEN_H, local)
        self._start = start_ms
        self._drawn = start_ms - _BEFORE_MS
        self._flood_at = start_ms + _FLOOD_FIRST_MS
        self._incidents = 0
        self._waiting: list[tuple[int, int, SentReport]] = []
        self._number = count()
        self._on_roads = [s.code for s in services.values() if "incident" in s.confirmed_by]

    def due(self, until_ms: int, incidents: Sequence[Incident] = ()) -> list[SentReport]:
        """Return what is sent before ``until_ms`` and was not returned yet, in order.

        ``incidents`` are all of the simulated roads so far, in order of their beginning.
        """
        while self._drawn < until_ms:
            self._draw_hour()
        self._see(incidents)
        if self._flood_at < until_ms:
            self._expect(self._flood())
        due = []
        while self._waiting and self._waiting[0][0] < until_ms:
            due.append(heapq.heappop(self._waiting)[2])
        return due

    def _draw_hour(self) -> None:
        end = self._drawn + HOUR_MS
        for problem in self._plan.starting_between(self._drawn, end):
            self._arises(problem)
        self._drawn = end
        oldest = end - _REMEMBERED_MS
        self.problems = [p for p in self.problems if p.start_ms >= oldest]

    def _arises(self, problem: CityProblem) -> None:
        self.problems.append(problem)
        rng = self._rng(0xB1, problem.id)
        reports = [replace(r, client=self._phone(r.client)) for r in problem.reports]
        for report in list(reports):
            if rng.random() < _RESENT:
                later = int(rng.integers(*_RESENT_AFTER_MS))
                reports.append(replace(report, at=report.at + later))
        if reports and rng.random() < _OF_NOTHING:
            reports.append(self._of_nothing(reports[0], rng))
        self._expect(reports)

    def _of_nothing(self, like: SentReport, rng: np.random.Generator) -> SentReport:
        segment = self._city.segments[int(rng.integers(len(self._city.segments)))]
        lon, lat = segment.line[0]
        self._nothing(f"{like.reference}-n", segment.area, like.service, lon, lat, like.at)
        return replace(
            like,
            client=self._phone(f"phone-{rng.integers(100_000)}"),
            reference=f"{like.reference}-n",
            area=segment.area,
            lon=lon,
            lat=lat,
            problem=None,
        )

    def _see(self, incidents: Sequence[Incident]) -> None:
        """Let some who stand in the queue report what blocks the road."""
        for incident in incidents[self._incidents :]:
            rng = self._rng(0xB2, incident.id)
            if self._on_roads and rng.random() < _SEEN_BY_CITIZENS:
                self._arises(self._on_the_road(incident, rng))
        self._incidents = len(incidents)

    def _on_the_road(self, incident: Incident, rng: np.random.Generator) -> CityProblem:
        segment = self._city.segments[incident.segment]
        line = np.array(segment.line, np.float64)
        at = incident.position * (len(line) - 1)
        lon, lat = (float(np.interp(at, np.arange(len(line)), line[:, i])) for i in (0, 1))
        code = self._on_roads[int(rng.integers(len(self._on_roads)))]
        delays = np.sort(rng.exponential(_INCIDENT_REPORTED_AFTER_MS, 1 + int(rng.poisson(1.0))))
        reports = tuple(
            SentReport(
                at=incident.start_ms + round(delay),
                client=f"phone-{rng.integers(100_000)}",
                reference=f"{incident.id}-{number + 1}",
                area=segment.area,
                service=code,
                lon=round(lon + rng.normal(0, 1e-4), 6),
                lat=round(lat + rng.normal(0, 1e-4), 6),
                description=f"{self._services[code].name}: traffic hardly passes",
                problem=incident.id,
            )
            for number, delay in enumerate(delays.tolist())
        )
        return CityProblem(
            incident.id,
            segment.area,
            code,
            lon,
            lat,
            incident.start_ms,
            work_s=_INCIDENT_WORK_S,
            reports=reports,
        )

    def _flood(self) -> list[SentReport]:
        """Return many reports of nothing by one client, all of one place."""
        begin, self._flood_at = self._flood_at, self._flood_at + _FLOOD_EVERY_MS
        rng = self._rng(0xB3, str(begin))
        segment = self._city.segments[int(rng.integers(len(self._city.segments)))]
        code = list(self._services)[int(rng.integers(len(self._services)))]
        times = begin + np.sort(rng.integers(0, _FLOOD_LASTS_MS, _FLOOD_REPORTS))
        lon, lat = segment.line[0]
        self._nothing(f"flood-{begin}", segment.area, code, lon, lat, begin)
        return [
            SentReport(
                at=at,
                client=ABUSER,
                reference=f"{begin}-{n}",
                area=segment.area,
                service=code,
                lon=lon,
                lat=lat,
                description="!!!",
                problem=None,
            )
            for n, at in enumerate(times.tolist())
        ]

    def _nothing(self, id_: str, area: str, service: str, lon: float, lat: float, at: int) -> None:
        """Note what a crew will find where nothing is."""
        self.problems.append(
            CityProblem(
                id=id_, area=area, service=service, lon=lon, lat=lat, start_ms=at, work_s=_LOOKING_S
            )
        )

    def _expect(self, reports: Iterable[SentReport]) -> None:
        for report in reports:
            if report.at >= self._start:
                heapq.heappush(self._waiting, (report.at, next(self._number), report))

    def _phone(self, client: str) -> str:
        """Return which of our phones the plan's client is; it knows of 100,000."""
        return f"phone-{int(client.rpartition('-')[2]) % self._citizens + 1:05d}"

    def _rng(self, stream: int, name: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, stream, *name.encode()])
