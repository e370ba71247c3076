"""How much a case matters, how urgent it is and by when it is due; formulas in docs/reports.md."""

from __future__ import annotations

import math
from typing import cast

from civicstream.service_events import Priority
from civicstream.services import ServiceType
from streams.dispatch.cases.records import CaseRecord, ReporterRecord
from streams.dispatch.cases.rules import HOUR_MS, CaseRules

__all__ = ["credit_of", "faded", "forgotten_at", "next_deadline", "settle", "target_ms"]

_NEGLIGIBLE = 0.1
"""Of a problem reported lately: then the reporter is as good as new."""


def faded(reporter: ReporterRecord | None, now_ms: int, rules: CaseRules) -> float:
    """Return how many problems the reporter has reported lately, with a half-life."""
    if reporter is None:
        return 0.0
    hours = max(now_ms - reporter.at, 0) / HOUR_MS
    return float(reporter.recent * 2 ** (-hours / rules.burst_half_life_h))


def credit_of(recent: float, rules: CaseRules) -> float:
    """Return what the ``recent``-th problem of a reporter counts, 0..1: a flood is worth little."""
    return min(1.0, rules.burst_allowance / max(recent, 1.0))


def forgotten_at(reporter: ReporterRecord, rules: CaseRules) -> int:
    """Return when the reporter is as good as new [ms]."""
    halvings = max(math.log2(reporter.recent / _NEGLIGIBLE), 0.0)
    return reporter.at + math.ceil(halvings * rules.burst_half_life_h * HOUR_MS)


def target_ms(service: ServiceType, priority: Priority) -> int:
    """Return the time to resolve: the service's, halved for every step of priority gained."""
    return round(service.target_h * HOUR_MS * 2.0 ** (priority - service.priority))


def settle(record: CaseRecord, service: ServiceType, rules: CaseRules, *, new_term: bool) -> None:
    """Bring weight, priority and due time of a case up to date.

    Within a term the priority only rises (``new_term`` begins one): what made it urgent is not
    undone by being known for longer.
    """
    people = math.fsum(share.credit for share in record.reporters.values())
    sensors = rules.sensor_credit * len(record.confirmed_by)
    record.weight = round(math.log2(1 + people + sensors), 4)
    priority: int = service.priority
    if people >= rules.many_reporters:
        # Priority 1 takes crews from other work: numbers alone, which can be made up, do not.
        priority = min(priority, max(priority - 1, 2))
    if record.confirmed_by:
        priority = max(priority - 1, 1)
    if not new_term:
        priority = min(priority, record.priority)
    record.priority = cast("Priority", priority)
    record.due_at = record.term_start + target_ms(service, record.priority)


def next_deadline(record: CaseRecord, rules: CaseRules) -> int | None:
    """Return when time alone next changes the case [ms]: a warning, or that it is forgotten."""
    if record.closed_at is not None:
        return record.closed_at + round(rules.closed_memory_h * HOUR_MS)
    if record.breach == "none":
        return record.term_start + round(rules.near_share * (record.due_at - record.term_start))
    return record.due_at if record.breach == "near" else None
