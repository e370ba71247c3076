"""One simulated day under one policy: the dispatcher and the crews, in steps of event time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.allocation_day import START_MS, Arising, Day
from civicstream.roads import RoadSpeeds
from civicstream.service_events import Action, Allocation, Task, Unit
from sensors_sim.crews import Crew
from streams.dispatch.allocation import Dispatcher, DispatchSettings, Refusal

__all__ = ["Outcome", "run_day"]

Floats = NDArray[np.float64]

STEP_MS = 20_000
SPEEDS_EVERY_MS = 300_000


@dataclass
class Outcome:
    """What became of the day; arrays over its tasks in order of arising."""

    minutes: Floats
    """From opened to arrival; of tasks never reached, to the end."""
    priority: NDArray[np.intp]
    late: NDArray[np.bool_]
    unserved: int
    km: float
    reassignments: int
    busy: float
    """Share of the crews' shifts under way or on site."""
    rejected: int
    planning_s: float
    plans: int
    slowest_plan_s: float


@dataclass
class _Run:
    """Carries events between the dispatcher and the crews until there are no more."""

    dispatcher: Dispatcher
    crews: dict[str, Crew]
    speeds: RoadSpeeds
    arrived: dict[str, int] = field(default_factory=dict)
    reassignments: int = 0
    rejected: int = 0

    def carry(self, out: list[Allocation | Refusal], now_ms: int) -> None:
        for event in out:
            if isinstance(event, Refusal):
                continue
            if event.state == "withdrawn" and "closed" not in event.note:
                self.reassignments += event.note != "nobody answered"
            self.rejected += event.state == "rejected"
            for report in self.crews[event.unit].receive(event, self.speeds, now_ms):
                self.take(report, now_ms)

    def take(self, event: Unit | Action, now_ms: int) -> None:
        if isinstance(event, Unit) and event.state == "on_site" and event.task:
            self.arrived[event.task] = event.at
        left = None
        if isinstance(event, Unit) and event.state == "available":
            record = self.dispatcher.store.units.get(event.id)
            left = record.unit.task if record and record.unit.state == "on_site" else None
        self.carry(self.dispatcher.apply(event, now_ms), now_ms)
        if left is not None:
            self.carry(self.dispatcher.close_task(left, now_ms), now_ms)


def run_day(day: Day, policy: str, settings: DispatchSettings | None = None) -> Outcome:
    """Return the outcome of the day under the policy."""
    roads = day.roads
    settings = settings or DispatchSettings(policy=policy, plan_every_s=STEP_MS / 1000)
    dispatcher = Dispatcher(day.city, settings, roads.graph)
    sites = {a.task.id: a.site for a in day.arising}
    crews = {p.id: Crew(p, roads.graph, sites.__getitem__, day.seed, START_MS) for p in day.crews}
    run = _Run(dispatcher, crews, roads.known(START_MS))
    coming, more = list(reversed(day.arising)), _more_reports(day.arising)
    seconds = roads.seconds(START_MS)
    spent, plans, slowest = 0.0, 0, 0.0
    for now in range(START_MS, day.end_ms, STEP_MS):
        if now % 120_000 == 0:
            seconds = roads.seconds(now)
        if now % SPEEDS_EVERY_MS == 0:
            run.speeds = roads.known(now)
            dispatcher.take_speeds(run.speeds)
        while coming and coming[-1].at <= now:
            run.carry(dispatcher.apply(coming.pop().task, now), now)
        while more and more[-1][0] <= now:
            _weigh(dispatcher, more.pop()[1], now)
        for crew in crews.values():
            for event in crew.advance(now, seconds, run.speeds):
                run.take(event, now)
        before = time.process_time()
        out = dispatcher.tick(now)
        took = time.process_time() - before
        spent, plans, slowest = spent + took, plans + (took > 1e-4), max(slowest, took)
        run.carry(out, now)
        if not coming and not dispatcher.store.tasks:
            break
    return _outcome(day, run, spent, plans, slowest)


def _more_reports(arising: list[Arising]) -> list[tuple[int, str]]:
    found = [(at, a.task.id) for a in arising for at in a.more_reports]
    return sorted(found, reverse=True)


def _weigh(dispatcher: Dispatcher, task: str, now_ms: int) -> None:
    """Another citizen reports the same: it counts a tenth more."""
    record = dispatcher.store.tasks.get(task)
    if record is not None:
        heavier: Task = msgspec.structs.replace(record.task, weight=record.task.weight + 0.1)
        dispatcher.apply(heavier, now_ms)


def _outcome(day: Day, run: _Run, spent: float, plans: int, slowest: float) -> Outcome:
    tasks = [a.task for a in day.arising]
    reached = np.array([run.arrived.get(t.id, day.end_ms) for t in tasks], np.int64)
    opened = np.array([t.opened_at for t in tasks], np.int64)
    due = np.array([t.due_at for t in tasks], np.int64)
    shifts = sum(
        min(c.plan.shift_end, day.end_ms) - max(c.plan.shift_start, START_MS)
        for c in run.crews.values()
        if c.plan.shift_start < START_MS + 22 * 3_600_000
    )
    return Outcome(
        minutes=(reached - opened) / 60_000,
        priority=np.array([t.priority for t in tasks], np.intp),
        late=reached > due,
        unserved=sum(t.id not in run.arrived for t in tasks),
        km=sum(c.km for c in run.crews.values()),
        reassignments=run.reassignments,
        busy=sum(
            c.busy_s for c in run.crews.values() if c.plan.shift_start < START_MS + 22 * 3_600_000
        )
        / max(shifts / 1000, 1.0),
        rejected=run.rejected,
        planning_s=spent,
        plans=plans,
        slowest_plan_s=slowest,
    )
