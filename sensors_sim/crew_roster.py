"""Which crews a simulated city has: skills by what citizens report, places, and shifts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from civicstream.city import City
from civicstream.services import ServiceType
from sensors_sim.citizens import HOUR_MS, shares_of
from sensors_sim.crews import CrewPlan

__all__ = ["next_shift", "plan_crews"]

_SHIFT_MS = 8 * HOUR_MS

_TYPES: tuple[tuple[str, ...], ...] = (
    ("road", "gritting", "pump"),
    ("electric",),
    ("cleaning", "waste"),
    ("tow", "patrol"),
    ("water", "pump"),
    ("tree", "road", "cleaning"),
)
"""Skills that one crew commonly has together; a service's skill that is in none is a type."""

_DRIVE_MIN = 16.0
_INCIDENT_SKILL = "tow"
_TOW_LEAST = 0.15
"""Share of the work that road incidents make, which nobody has to report."""


def plan_crews(
    city: City, services: Mapping[str, ServiceType], crews: int, seed: int, now_ms: int
) -> list[CrewPlan]:
    """Return crews on duty at ``now_ms``, shared among the types by the work of their skills.

    With fewer crews than types, a crew has the skills of several: every skill is there.
    """
    rng = np.random.default_rng([seed, 0xC4])
    plans = []
    for number, skills in enumerate(_skills_of(services, crews)):
        segment = city.segments[int(rng.integers(len(city.segments)))]
        lon, lat = np.array(segment.line, np.float64).mean(axis=0).tolist()
        # Staggered: a city whose crews all change at once has none then.
        left = _SHIFT_MS - (number * 7 % 16) * _SHIFT_MS // 32
        begin = now_ms + left - _SHIFT_MS
        plans.append(
            CrewPlan(
                id=f"crew-{number + 1}",
                area=segment.area,
                skills=skills,
                lon=round(lon, 6),
                lat=round(lat, 6),
                shift_start=begin,
                shift_end=begin + _SHIFT_MS,
            )
        )
    return plans


def next_shift(plan: CrewPlan) -> CrewPlan:
    """Return the shift that takes the vehicle over when this one ends."""
    return replace(plan, shift_start=plan.shift_end, shift_end=plan.shift_end + _SHIFT_MS)


def _skills_of(services: Mapping[str, ServiceType], crews: int) -> list[tuple[str, ...]]:
    work = _work_by_skill(services)
    types = [t for t in _TYPES if not work.keys().isdisjoint(t)]
    covered = {skill for t in types for skill in t}
    types += [(skill,) for skill in work if skill not in covered]
    if crews < len(types):
        shared = [types[i::crews] for i in range(crews)]
        return [tuple(dict.fromkeys(s for t in several for s in t)) for several in shared]
    # Sainte-Laguë: one each, then always where most work comes on a crew.
    load = [sum(work.get(skill, 0.0) for skill in t) for t in types]
    counts = [1] * len(types)
    for _ in range(crews - len(types)):
        neediest = max(range(len(types)), key=lambda i: load[i] / (2 * counts[i] + 1))
        counts[neediest] += 1
    return [t for t, n in zip(types, counts, strict=True) for _ in range(n)]


def _work_by_skill(services: Mapping[str, ServiceType]) -> dict[str, float]:
    """Return minutes of crews per problem by skill, and what incidents add."""
    work: dict[str, float] = {}
    for service, share in zip(services.values(), shares_of(services).tolist(), strict=True):
        minutes = share * (service.work_min + _DRIVE_MIN)
        work[service.skill] = work.get(service.skill, 0.0) + minutes
    extra = _TOW_LEAST * sum(work.values())
    return work | {_INCIDENT_SKILL: work.get(_INCIDENT_SKILL, 0.0) + extra}
