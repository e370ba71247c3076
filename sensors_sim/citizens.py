"""Problems of a simulated city and the citizens who report them: a plan, the same every run.

Problems arise at random (Poisson) with the course of a day, and in bursts when a storm passes
over a part of the city. Each is reported by one or more people, some at a wrong place or under
a wrong service, and now and then one client floods the city with reports of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.geo import METRES_PER_DEGREE, distance_m
from civicstream.local_time import LocalOffset, local_offset
from civicstream.services import ServiceType
from sensors_sim.demand import hour_of_day

__all__ = ["CitizenPlan", "CityProblem", "SentReport", "shares_of"]

HOUR_MS = 3_600_000

_SHARES = {1: 0.10, 2: 0.15, 3: 0.55, 4: 0.20}
"""Of the problems by priority; most of what citizens report is not urgent."""

_STORM_SERVICES = ("fallen_tree", "flooding", "debris")
_STORMS_PER_DAY = 0.3
_STORM_PROBLEMS = 8.0
_STORM_MS = 90 * 60_000
_STORM_RADIUS_M = 2_500.0

_WRONG_PLACE, _WRONG_SERVICE = 0.05, 0.04
_PLACE_ERROR_M, _WRONG_PLACE_ERROR_M = 12.0, 400.0
_FLOODS_PER_DAY = 1.0
_FLOOD_REPORTS = 120


@dataclass(frozen=True)
class SentReport:
    """What one client sends; ``problem`` is the truth behind it, None for abuse."""

    at: int
    client: str
    reference: str
    area: str
    service: str
    lon: float
    lat: float
    description: str
    problem: str | None


@dataclass(frozen=True)
class CityProblem:
    """Ground truth of one problem."""

    id: str
    area: str
    service: str
    lon: float
    lat: float
    start_ms: int
    work_s: float
    """What a crew will really need on site."""
    reports: tuple[SentReport, ...] = field(repr=False, default=())


class CitizenPlan:
    """Each hour and each day of the epoch is drawn by itself, wherever a run starts."""

    def __init__(
        self,
        city: City,
        services: Mapping[str, ServiceType],
        seed: int,
        per_hour: float,
        local: LocalOffset = local_offset("UTC"),
    ) -> None:
        """``per_hour``: problems in the mean hour of a day, without those of storms.

        They follow the time of day that ``local`` gives.
        """
        self._local = local
        self._city = city
        self._services = services
        self._seed = seed
        self._per_hour = per_hour
        self._codes = list(services)
        self._share = shares_of(services)
        # Problems lie along roads: in front of houses, not in fields.
        self._length = np.cumsum([s.length_m for s in city.segments])

    def starting_between(self, start_ms: int, end_ms: int) -> list[CityProblem]:
        """Return the problems with ``start_ms`` <= start < ``end_ms``, in order of start."""
        hours = range(start_ms // HOUR_MS, (end_ms - 1) // HOUR_MS + 1)
        days = range(start_ms // (24 * HOUR_MS) - 1, (end_ms - 1) // (24 * HOUR_MS) + 1)
        found = [p for hour in hours for p in self._of_hour(hour)]
        found += [p for day in days for p in self._of_storms(day)]
        return sorted(
            (p for p in found if start_ms <= p.start_ms < end_ms), key=lambda p: (p.start_ms, p.id)
        )

    def abuse_between(self, start_ms: int, end_ms: int) -> list[SentReport]:
        """Return the reports of clients that flood the city, within these times."""
        days = range(start_ms // (24 * HOUR_MS), (end_ms - 1) // (24 * HOUR_MS) + 1)
        found = [r for day in days for r in self._floods(day)]
        return [r for r in found if start_ms <= r.at < end_ms]

    def _of_hour(self, hour: int) -> list[CityProblem]:
        rng = np.random.default_rng([self._seed, 0xC1, hour])
        at = hour * HOUR_MS + HOUR_MS // 2
        middle = np.array([at + self._local(at)], np.int64)
        of_day = 0.2 + 1.3 * float(np.exp(-0.5 * ((hour_of_day(middle)[0] - 13.5) / 4.5) ** 2))
        count = int(rng.poisson(self._per_hour * of_day / _MEAN_OF_DAY))
        starts = np.sort(rng.integers(0, HOUR_MS, count)) + hour * HOUR_MS
        services = rng.choice(len(self._codes), count, p=self._share)
        return [
            self._problem(f"p{hour}-{i + 1}", self._codes[services[i]], int(starts[i]), None, rng)
            for i in range(count)
        ]

    def _of_storms(self, day: int) -> list[CityProblem]:
        rng = np.random.default_rng([self._seed, 0x57, day])
        codes = [c for c in _STORM_SERVICES if c in self._services]
        found = []
        for storm in range(int(rng.poisson(_STORMS_PER_DAY)) if codes else 0):
            begin = day * 24 * HOUR_MS + int(rng.integers(0, 24 * HOUR_MS))
            centre = self._place(rng)[:2]
            for number in range(int(rng.poisson(_STORM_PROBLEMS))):
                at = begin + int(rng.integers(0, _STORM_MS))
                code = codes[int(rng.integers(len(codes)))]
                id_ = f"s{day}-{storm + 1}-{number + 1}"
                found.append(self._problem(id_, code, at, centre, rng))
        return found

    def _problem(
        self,
        id_: str,
        code: str,
        start_ms: int,
        near: tuple[float, float] | None,
        rng: np.random.Generator,
    ) -> CityProblem:
        lon, lat, area = self._place(rng)
        for _ in range(40):
            if near is None or distance_m(*near, lon, lat) < _STORM_RADIUS_M:
                break
            lon, lat, area = self._place(rng)
        service = self._services[code]
        work_s = service.work_min * 60 * float(np.clip(rng.lognormal(-0.06, 0.35), 0.35, 2.5))
        problem = CityProblem(
            id=id_, area=area, service=code, lon=lon, lat=lat, start_ms=start_ms, work_s=work_s
        )
        return CityProblem(
            id=id_,
            area=area,
            service=code,
            lon=lon,
            lat=lat,
            start_ms=start_ms,
            work_s=work_s,
            reports=tuple(self._reports(problem, rng)),
        )

    def _place(self, rng: np.random.Generator) -> tuple[float, float, str]:
        """Return lon, lat beside a random road, up to a street's block away, and its area."""
        index = int(np.searchsorted(self._length, rng.random() * self._length[-1]))
        segment = self._city.segments[min(index, len(self._city.segments) - 1)]
        line = np.array(segment.line, np.float64)
        on = rng.random() * (len(line) - 1)
        k = min(int(on), len(line) - 2)
        point = line[k] + (on - k) * (line[k + 1] - line[k])
        lon, lat = _moved(point, rng, 150.0)
        return lon, lat, segment.area

    def _reports(self, problem: CityProblem, rng: np.random.Generator) -> list[SentReport]:
        """Return what citizens send: the first after some minutes, more of what many see."""
        priority = self._services[problem.service].priority
        count = 1 + int(rng.poisson({1: 2.5, 2: 1.5, 3: 0.6, 4: 0.2}[priority]))
        delay = np.sort(rng.exponential({1: 8, 2: 15, 3: 60, 4: 240}[priority], count))
        delay[0] = min(delay[0], 5.0)
        sent = []
        for number in range(count):
            wrong = rng.random() < _WRONG_PLACE
            spread = _WRONG_PLACE_ERROR_M if wrong else _PLACE_ERROR_M
            lon, lat = _moved(np.array([problem.lon, problem.lat]), rng, spread)
            other = rng.random() < _WRONG_SERVICE
            code = self._codes[int(rng.integers(len(self._codes)))] if other else problem.service
            words = self._services[problem.service]
            text = words.keywords[int(rng.integers(len(words.keywords)))] if words.keywords else ""
            client = f"phone-{int(rng.integers(100_000)):05d}"
            at = problem.start_ms + round(float(delay[number]) * 60_000)
            sent.append(
                SentReport(
                    at=at,
                    client=client,
                    reference=f"{problem.id}-{number + 1}",
                    area=problem.area,
                    service=code,
                    lon=lon,
                    lat=lat,
                    description=f"{words.name}: {text}",
                    problem=problem.id,
                )
            )
        return sent

    def _floods(self, day: int) -> list[SentReport]:
        rng = np.random.default_rng([self._seed, 0xAB, day])
        found = []
        for flood in range(int(rng.poisson(_FLOODS_PER_DAY))):
            begin = day * 24 * HOUR_MS + int(rng.integers(0, 24 * HOUR_MS))
            lon, lat, area = self._place(rng)
            code = self._codes[int(rng.integers(len(self._codes)))]
            times = begin + np.sort(rng.integers(0, 20 * 60_000, _FLOOD_REPORTS))
            found += [
                SentReport(
                    at=int(at),
                    client=f"flood-{day}-{flood + 1}",
                    reference=f"x{i}",
                    area=area,
                    service=code,
                    lon=lon,
                    lat=lat,
                    description="!!!",
                    problem=None,
                )
                for i, at in enumerate(times.tolist())
            ]
        return found


_HOURS = np.arange(24) + 0.5
_MEAN_OF_DAY = float((0.2 + 1.3 * np.exp(-0.5 * ((_HOURS - 13.5) / 4.5) ** 2)).mean())


def shares_of(services: Mapping[str, ServiceType]) -> NDArray[np.float64]:
    """Return each service's share of the problems, in their order; the sum is 1."""
    priorities = [s.priority for s in services.values()]
    share = np.array([_SHARES[p] / priorities.count(p) for p in priorities])
    normed: NDArray[np.float64] = share / share.sum()
    return normed


def _moved(
    point: NDArray[np.float64], rng: np.random.Generator, spread_m: float
) -> tuple[float, float]:
    north, east = rng.normal(0, spread_m, 2) / METRES_PER_DEGREE
    lat = float(point[1] + north)
    return round(float(point[0] + east / np.cos(np.radians(lat))), 6), round(lat, 6)
