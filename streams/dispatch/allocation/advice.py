"""Why this unit: one sentence for those who decide, and the units that could go instead."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from civicstream.service_events import Alternative, Task
from streams.dispatch.allocation.assignment import extra_costs
from streams.dispatch.allocation.problem import RoundPlan

__all__ = ["alternatives", "extras", "sentence"]

Floats = NDArray[np.float64]

MOST_ALTERNATIVES = 3


def extras(plan: RoundPlan) -> Floats:
    """Return [t, u] what each other choice would cost the plan, priority-weighted minutes."""
    if plan.optimal:
        return extra_costs(plan.cost, plan.unassigned, plan.planned)
    own = np.where(plan.unit >= 0, plan.cost[np.arange(len(plan.unit)), plan.unit], plan.unassigned)
    direct: Floats = plan.cost - own[:, None]
    return direct


def alternatives(
    extra: Floats, arrival_min: Floats, chosen: int, units: list[str], now_ms: int
) -> list[Alternative]:
    """Return the units that would cost least instead of ``chosen``; arrays [u] of one task."""
    others = [
        u for u in np.argsort(extra, kind="stable").tolist() if u != chosen and extra[u] < np.inf
    ]
    return [
        Alternative(units[u], now_ms + round(arrival_min[u] * 60_000), round(float(extra[u]), 2))
        for u in others[:MOST_ALTERNATIVES]
    ]


def sentence(
    task: Task, unit: str, now_ms: int, arrival_at: int, target_at: int, others: list[Alternative]
) -> str:
    """Return the reason, e.g. ``Tow 3 is there in 7 min (10:42), 13 min before the target; …``."""
    away = (target_at - arrival_at) / 60_000
    against = (
        f"{away:.0f} min before the target" if away >= 0 else f"{-away:.0f} min after the target"
    )
    at = datetime.fromtimestamp(arrival_at / 1000, UTC)
    start = (
        f"{unit} can be there in {(arrival_at - now_ms) / 60_000:.0f} min ({at:%H:%M} UTC), "
        f"{against} of a priority {task.priority} task"
    )
    if not others:
        return f"{start}; no other unit with the skill {task.skill!r} can go."
    best = others[0]
    later = (best.arrival_at - arrival_at) / 60_000
    when = f"{later:.0f} min later" if later >= 0 else f"{-later:.0f} min earlier"
    if best.extra_cost < 0.005:
        return f"{start}; the next best, {best.unit}, {when}, would cost the plan nothing more."
    return (
        f"{start}; the next best, {best.unit}, {when}, would cost the plan "
        f"{best.extra_cost:.1f} priority-weighted minutes more."
    )
