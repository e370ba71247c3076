"""Simulated crews: they answer proposals, drive on the roads, work, and say where they are.

A crew is a state machine driven by the clock: ``receive`` takes what the dispatcher publishes,
``advance`` moves it on and returns what it reports. What chance decides hangs on the crew and
the task alone, so a task takes as long and is rejected by the same crews however crews are sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.roads import Places, RoadGraph, RoadSpeeds
from civicstream.service_events import Action, Allocation, Unit, UnitState
from sensors_sim.driving import Driver

__all__ = ["Crew", "CrewPlan", "Site"]

Floats = NDArray[np.float64]

_REJECTS = 0.04
"""Share of pairs of crew and task that the crew declines: wrong tool, lunch, a closed gate."""

_ANSWER_S = (10.0, 60.0)
_REPORT_EVERY_MS = 15_000


@dataclass(frozen=True)
class Site:
    """Where a task is and how long it will really take."""

    lon: float
    lat: float
    place: Places
    """One place."""
    work_s: float


@dataclass(frozen=True)
class CrewPlan:
    """Who a crew is; its shift in ms."""

    id: str
    area: str
    skills: tuple[str, ...]
    lon: float
    lat: float
    shift_start: int
    shift_end: int
    capacity: float = 1.0


class Crew:
    """``site_of`` gives the site of a task's id; ``speeds`` what the crew's navigation knows."""

    def __init__(
        self,
        plan: CrewPlan,
        graph: RoadGraph,
        site_of: Callable[[str], Site],
        seed: int,
        now_ms: int,
    ) -> None:
        self.plan = plan
        self.state: UnitState = "off_duty"
        self.task: str | None = None
        self.busy_s = 0.0
        """Time under way and on site."""
        self._site_of = site_of
        self._seed = seed
        self._clock = now_ms
        self._driver = Driver(graph, (plan.lon, plan.lat))
        self._offer: Allocation | None = None
        self._answer_at = 0
        self._work_until = 0
        self._reported_at = -_REPORT_EVERY_MS

    @property
    def km(self) -> float:
        """Driven so far."""
        return self._driver.km

    def receive(self, allocation: Allocation, speeds: RoadSpeeds, now_ms: int) -> list[Unit]:
        """Take in a version of an allocation of this crew."""
        if allocation.state == "proposed":
            self._offer = allocation
            low, high = _ANSWER_S
            self._answer_at = now_ms + round(
                1000 * (low + (high - low) * self._chance("answer", allocation.task))
            )
            return []
        if allocation.state == "accepted":
            self._offer = None
            return [] if self.task == allocation.task else self._set_off(allocation, speeds, now_ms)
        if self._offer is not None and self._offer.id == allocation.id:
            self._offer = None
        if self.task == allocation.task and self.state in {"assigned", "en_route"}:
            self._stop()
            return [self._report("available", now_ms)]
        return []

    def advance(self, now_ms: int, seconds: Floats, speeds: RoadSpeeds) -> list[Unit | Action]:
        """Move on to ``now_ms``; ``seconds`` [e] is what each edge really takes now."""
        out: list[Unit | Action] = []
        if self._offer is not None and now_ms >= self._answer_at:
            out += self._answer(self._offer, speeds, now_ms)
        if self.state in {"en_route", "on_site"}:
            self.busy_s += (now_ms - self._clock) / 1000
        if self._driver.under_way:
            out += self._drive_on(now_ms, seconds)
        if self.state == "on_site" and now_ms >= self._work_until:
            out.append(self._report("available", self._work_until, task=None))
        self._clock = now_ms
        out += self._keep_shift(now_ms)
        return out

    def _answer(self, offer: Allocation, speeds: RoadSpeeds, now_ms: int) -> list[Unit | Action]:
        self._offer = None
        verdict = "reject" if self._chance("reject", offer.task) < _REJECTS else "accept"
        action = Action(
            id=f"{offer.id}/{verdict}",
            subject=f"allocation/{offer.id}",
            action=verdict,
            area=self.plan.area,
            by=self.plan.id,
            at=now_ms,
            note="cannot do this one" if verdict == "reject" else "",
        )
        return [action] if verdict == "reject" else [action, *self._set_off(offer, speeds, now_ms)]

    def _set_off(self, allocation: Allocation, speeds: RoadSpeeds, now_ms: int) -> list[Unit]:
        if self.state == "on_site":
            return []
        self._stop()
        site = self._site_of(allocation.task)
        if not self._driver.set_off(site.place, (site.lon, site.lat), speeds):
            return []
        self._clock = now_ms
        return [self._report("en_route", now_ms, task=allocation.task)]

    def _stop(self) -> None:
        self._driver.stop()
        self.task = None

    def _drive_on(self, now_ms: int, seconds: Floats) -> list[Unit | Action]:
        left_s = self._driver.move((now_ms - self._clock) / 1000, seconds)
        if left_s is not None:
            return [self._arrive(now_ms - round(left_s * 1000))]
        if now_ms - self._reported_at >= _REPORT_EVERY_MS:
            return [self._report("en_route", now_ms, task=self.task)]
        return []

    def _arrive(self, at_ms: int) -> Unit:
        site = self._site_of(self.task or "")
        self._work_until = at_ms + round(site.work_s * 1000)
        return self._report("on_site", at_ms, task=self.task)

    def _keep_shift(self, now_ms: int) -> list[Unit | Action]:
        on_shift = self.plan.shift_start <= now_ms < self.plan.shift_end
        if self.state == "off_duty" and on_shift:
            return [self._report("available", now_ms)]
        if self.state == "available" and not on_shift:
            self._offer = None
            return [self._report("off_duty", now_ms)]
        return []

    def _report(self, state: UnitState, at_ms: int, task: str | None = None) -> Unit:
        self.state, self.task, self._reported_at = state, task, at_ms
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
            load=0.0,
            at=at_ms,
            task=task,
        )

    def _chance(self, *about: str) -> float:
        """Return a number 0..1 that hangs on the seed, the crew and ``about`` alone."""
        text = "/".join((str(self._seed), self.plan.id, *about))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48
