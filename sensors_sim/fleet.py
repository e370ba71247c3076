"""All crews of a simulated city: given what was decided, moved on with the clock, relieved at the
end of their shifts. Pure: what they say is returned, in order.

A crew that has finished says ``done`` of its allocation, and is free once the dispatcher has
taken note of it: the two travel on different topics, and would meet in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from civicstream.roads import RoadGraph, RoadSpeeds
from civicstream.service_events import Action, Allocation, Unit
from sensors_sim.crew_roster import next_shift
from sensors_sim.crews import Crew, CrewPlan
from sensors_sim.task_sites import TaskSites

__all__ = ["CrewMessage", "Fleet"]

CrewMessage = Unit | Action

_STANDING = frozenset({"proposed", "accepted"})
_REPEATED_EVERY_MS = 60_000
"""So often a crew that stands still says where it is: who has forgotten it learns of it."""


@dataclass
class _Vehicle:
    """A crew and what its tablet shows."""

    crew: Crew
    standing: dict[str, Allocation] = field(default_factory=dict)
    """The newest versions of what it was asked or sent to do, by id, until they end."""
    held: list[CrewMessage] = field(default_factory=list)
    """Said after ``done``, until that is taken note of."""
    held_for: str = ""
    """Id of the allocation that is done."""
    held_until: int = 0
    last: Unit | None = None


class Fleet:
    """``patience_ms``: how long a finished crew waits for the dispatcher to take note."""

    def __init__(
        self,
        plans: Iterable[CrewPlan],
        graph: RoadGraph,
        sites: TaskSites,
        seed: int,
        now_ms: int,
        patience_ms: int = 5_000,
    ) -> None:
        self._graph, self._sites, self._seed = graph, sites, seed
        self._patience = patience_ms
        self._vehicles = {p.id: _Vehicle(self._crew(p, now_ms)) for p in plans}
        self._nowhere: dict[str, Allocation] = {}
        """By unit: the newest allocation to a task whose place nobody has published yet."""

    def _crew(self, plan: CrewPlan, now_ms: int) -> Crew:
        return Crew(plan, self._graph, self._sites.site, self._seed, now_ms)

    def assign(self, allocation: Allocation, speeds: RoadSpeeds, now_ms: int) -> list[CrewMessage]:
        """Take in a version of an allocation, of any unit; return what the crew says to it."""
        vehicle = self._vehicles.get(allocation.unit)
        if vehicle is None:
            return []
        if allocation.state in _STANDING:
            if vehicle.held_for == allocation.id:
                return []  # it was done before the news of its acceptance came
            vehicle.standing[allocation.id] = allocation
            if not self._sites.knows(allocation.task):
                self._nowhere[allocation.unit] = allocation
                return []
        else:
            vehicle.standing.pop(allocation.id, None)
            if vehicle.held_for == allocation.id:
                vehicle.held_until = now_ms
        self._forget_nowhere(allocation)
        if _is_echo(allocation) and vehicle.crew.state != "off_duty":
            # It may have gone elsewhere since; following its own echo it would turn round, and
            # the echo of that would turn it again.
            return []
        messages = vehicle.crew.receive(allocation, speeds, now_ms)
        return self._released(vehicle, list(messages), now_ms)

    def _forget_nowhere(self, allocation: Allocation) -> None:
        waiting = self._nowhere.get(allocation.unit)
        if waiting is not None and waiting.id == allocation.id:
            del self._nowhere[allocation.unit]

    def advance(
        self, now_ms: int, seconds: NDArray[np.float64], speeds: RoadSpeeds
    ) -> list[CrewMessage]:
        """Move all crews on to ``now_ms``; arguments as ``Crew.advance``."""
        out: list[CrewMessage] = []
        for allocation in list(self._nowhere.values()):
            if self._sites.knows(allocation.task):
                out += self.assign(allocation, speeds, now_ms)
        for vehicle in self._vehicles.values():
            out += self._advance(vehicle, now_ms, seconds, speeds)
        return out

    def _advance(
        self, vehicle: _Vehicle, now_ms: int, seconds: NDArray[np.float64], speeds: RoadSpeeds
    ) -> list[CrewMessage]:
        crew = vehicle.crew
        busy_with = crew.task
        messages = crew.advance(now_ms, seconds, speeds)
        finished = None if crew.task else self._finished(vehicle, busy_with)
        if crew.state == "off_duty" and now_ms >= crew.plan.shift_end:
            messages += self._relieve(vehicle, now_ms, seconds, speeds)
        elif crew.state == "available" and finished is None and not vehicle.held:
            messages += self._set_off(vehicle, speeds, now_ms)
        if finished is not None:
            return self._report_done(vehicle, finished, messages, now_ms)
        return self._released(vehicle, messages, now_ms)

    def _finished(self, vehicle: _Vehicle, task: str | None) -> Allocation | None:
        """Return the allocation that has come to its end, if the crew was sent to ``task``."""
        return next((a for a in vehicle.standing.values() if a.task == task), None)

    def _report_done(
        self, vehicle: _Vehicle, finished: Allocation, messages: list[CrewMessage], now_ms: int
    ) -> list[CrewMessage]:
        """Say ``done`` before being free again, and hold the rest back."""
        free = next(i for i, s in enumerate(messages) if isinstance(s, Unit) and s.task is None)
        done = _decision(finished, "done", vehicle.crew.plan, messages[free].at, "finished")
        del vehicle.standing[finished.id]
        vehicle.held, vehicle.held_for = messages[free:], finished.id
        vehicle.held_until = now_ms + self._patience
        messages = [*messages[:free], done]
        vehicle.last = next((s for s in reversed(messages) if isinstance(s, Unit)), vehicle.last)
        return messages

    def _relieve(
        self, vehicle: _Vehicle, now_ms: int, seconds: NDArray[np.float64], speeds: RoadSpeeds
    ) -> list[CrewMessage]:
        """Let the next shift take the vehicle over where it started."""
        plan = next_shift(vehicle.crew.plan)
        while plan.shift_end <= now_ms:
            plan = next_shift(plan)
        vehicle.crew = self._crew(plan, now_ms)
        return [*vehicle.crew.advance(now_ms, seconds, speeds)]

    def _set_off(self, vehicle: _Vehicle, speeds: RoadSpeeds, now_ms: int) -> list[CrewMessage]:
        """Go where the crew was sent while it was busy; say no where no road leads."""
        unit = vehicle.crew.plan.id
        sent = [a for a in vehicle.standing.values() if a.state == "accepted"]
        if not sent or unit in self._nowhere:
            return []
        messages: list[CrewMessage] = [*vehicle.crew.receive(sent[-1], speeds, now_ms)]
        if messages:
            return messages
        del vehicle.standing[sent[-1].id]
        return [_decision(sent[-1], "reject", vehicle.crew.plan, now_ms, "no way there")]

    def _released(
        self, vehicle: _Vehicle, messages: list[CrewMessage], now_ms: int
    ) -> list[CrewMessage]:
        """Return what is said now: what was held back first, and a repetition after silence."""
        if vehicle.held:
            vehicle.held += messages
            if now_ms < vehicle.held_until:
                return []
            messages, vehicle.held = vehicle.held, []
        units = [s for s in messages if isinstance(s, Unit)]
        if units:
            vehicle.last = units[-1]
        last = vehicle.last
        if last is not None and not units and now_ms - last.at >= _REPEATED_EVERY_MS:
            vehicle.last = msgspec.structs.replace(last, at=now_ms)
            return [*messages, vehicle.last]
        return messages


def _is_echo(allocation: Allocation) -> bool:
    """Whether it was accepted by the crew's own word."""
    own = {allocation.unit, f"unit/{allocation.unit}"}
    return allocation.state == "accepted" and allocation.decided_by in own


def _decision(advice: Allocation, action: str, plan: CrewPlan, at: int, note: str) -> Action:
    return Action(
        id=f"{advice.id}/{action}",
        subject=f"allocation/{advice.id}",
        action=action,
        area=plan.area,
        by=plan.id,
        at=at,
        note=note,
    )
