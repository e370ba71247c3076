"""A plan made into allocations: what it changes is withdrawn and proposed, the rest stands."""

from __future__ import annotations

from civicstream.roads import RoadGraph
from civicstream.service_events import Allocation, Alternative
from streams.dispatch.allocation.advice import alternatives, extras, sentence
from streams.dispatch.allocation.problem import RoundPlan
from streams.dispatch.allocation.rounds import Round, target_at
from streams.dispatch.allocation.settings import DispatchSettings
from streams.dispatch.allocation.store import AllocationStore, Refusal
from streams.dispatch.allocation.versions import AllocationVersions

__all__ = ["propose"]


def propose(
    store: AllocationStore,
    versions: AllocationVersions,
    graph: RoadGraph,
    round_: Round,
    plan: RoundPlan,
    now_ms: int,
    settings: DispatchSettings,
) -> list[Allocation | Refusal]:
    """Return the versions that the plan makes: all that end first, then the new proposals."""
    out: list[Allocation | Refusal] = []
    fresh: list[int] = []
    for row, (task, unit) in enumerate(zip(round_.tasks, plan.unit.tolist(), strict=True)):
        wanted = round_.units[unit] if unit >= 0 else None
        standing = store.advice_of(task)
        if standing is not None and standing.allocation.unit != wanted:
            note = _why_withdrawn(round_, plan, standing.allocation.unit, wanted)
            out.append(versions.end(standing, "withdrawn", "system", now_ms, note))
        if wanted is not None and (standing is None or standing.allocation.unit != wanted):
            fresh.append(row)
    if fresh:
        extra = extras(plan)
        arrival = round_.problem.arrival_min
        for row in fresh:
            unit = int(plan.unit[row])
            others = alternatives(extra[row], arrival[row], unit, round_.units, now_ms)
            made = _proposal(store, graph, round_, row, unit, others, now_ms, settings)
            out.append(versions.open(made))
    return out


def _why_withdrawn(round_: Round, plan: RoundPlan, unit: str, wanted: str | None) -> str:
    takers = [
        task
        for task, u in zip(round_.tasks, plan.unit.tolist(), strict=True)
        if u >= 0 and round_.units[u] == unit
    ]
    there = f"{unit} is needed for {takers[0]}" if takers else f"{unit} can go there no longer"
    return f"{there}; {wanted} goes instead" if wanted else there


def _proposal(
    store: AllocationStore,
    graph: RoadGraph,
    round_: Round,
    row: int,
    unit: int,
    others: list[Alternative],
    now_ms: int,
    settings: DispatchSettings,
) -> Allocation:
    task = store.tasks[round_.tasks[row]].task
    name = round_.units[unit]
    arrival_at = now_ms + round(float(round_.problem.arrival_min[row, unit]) * 60_000)
    route = round_.trips.route(unit, row)
    target = target_at(task, settings)
    return Allocation(
        id=f"{task.id}/{name}/{now_ms}",
        version=1,
        state="proposed",
        policy=settings.policy,
        task=task.id,
        unit=name,
        area=task.area,
        priority=task.priority,
        proposed_at=now_ms,
        arrival_at=arrival_at,
        route=[] if route is None else route.segments(graph),
        reason=sentence(task, name, now_ms, arrival_at, target, others),
        alternatives=others,
        decided_by="system",
        decided_at=now_ms,
    )
