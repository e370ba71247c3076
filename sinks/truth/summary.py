"""The figures of a comparison with the truth: rates, false alarms, time to detect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, median

import msgspec

from sinks.truth.files import Span
from sinks.truth.matching import FaultOutcome, IncidentOutcome

__all__ = ["FaultFigures", "IncidentFigures", "fault_figures", "incident_figures"]

_DAY_MS = 86_400_000

LEAST_SEVERITY, LEAST_DEMAND = 1 / 3, 0.6
"""An incident is heavy if it takes a third of the capacity while traffic uses so much of it."""


class IncidentFigures(msgspec.Struct, frozen=True):
    """Rates are None where there was nothing to detect; pending incidents count nowhere."""

    incidents: int
    detected: int
    missed: int
    pending: int
    detection_rate: float | None
    heavy_incidents: int
    """Of the detected and missed ones."""
    heavy_detection_rate: float | None
    false_alarms: int
    false_alarms_per_day_per_100_segments: float | None
    repeated: int
    """More detections of an incident that had one."""
    mttd_s: float | None
    """Mean time to detect, in event time."""
    median_ttd_s: float | None


class FaultFigures(msgspec.Struct, frozen=True):
    """``by_fault``: fault -> share detected; ``named_as``: fault -> health it was taken for."""

    broken: int
    detected: int
    missed: int
    pending: int
    detection_rate: float | None
    by_fault: dict[str, float]
    named_as: dict[str, dict[str, int]]
    false_alarms: int
    mttd_s: float | None
    median_ttd_s: float | None


def _rate(detected: int, missed: int) -> float | None:
    return detected / (detected + missed) if detected + missed else None


def incident_figures(
    outcomes: Sequence[IncidentOutcome], demand: Mapping[str, float], span: Span, segments: int
) -> IncidentFigures:
    """Return the figures; ``demand``: true id -> flow before it as a share of capacity."""

    def count(outcome: str, among: Sequence[IncidentOutcome]) -> int:
        return sum(one.outcome == outcome for one in among)

    heavy = [
        one
        for one in outcomes
        if one.truth is not None
        and one.truth.severity >= LEAST_SEVERITY
        and demand.get(one.truth.id, 0.0) >= LEAST_DEMAND
    ]
    detected, missed = count("detected", outcomes), count("missed", outcomes)
    pending, false_alarms = count("pending", outcomes), count("false_alarm", outcomes)
    heavy_detected, heavy_missed = count("detected", heavy), count("missed", heavy)
    share_days = (span.end_ms - span.start_ms) / _DAY_MS * segments / 100
    delays = _delays(outcomes)
    return IncidentFigures(
        incidents=detected + missed + pending,
        detected=detected,
        missed=missed,
        pending=pending,
        detection_rate=_rate(detected, missed),
        heavy_incidents=heavy_detected + heavy_missed,
        heavy_detection_rate=_rate(heavy_detected, heavy_missed),
        false_alarms=false_alarms,
        false_alarms_per_day_per_100_segments=false_alarms / share_days if share_days else None,
        repeated=count("repeated", outcomes),
        mttd_s=fmean(delays) if delays else None,
        median_ttd_s=median(delays) if delays else None,
    )


def fault_figures(outcomes: Sequence[FaultOutcome]) -> FaultFigures:
    """Return the figures of broken sensors."""
    by_fault: dict[str, list[bool]] = {}
    named_as: dict[str, dict[str, int]] = {}
    for one in outcomes:
        if one.truth is None or one.outcome not in {"detected", "missed"}:
            continue
        by_fault.setdefault(one.truth.fault, []).append(one.outcome == "detected")
        if one.change is not None:
            names = named_as.setdefault(one.truth.fault, {})
            names[one.change.health] = names.get(one.change.health, 0) + 1
    detected = sum(sum(seen) for seen in by_fault.values())
    missed = sum(map(len, by_fault.values())) - detected
    pending = sum(one.outcome == "pending" for one in outcomes)
    delays = _delays(outcomes)
    return FaultFigures(
        broken=detected + missed + pending,
        detected=detected,
        missed=missed,
        pending=pending,
        detection_rate=_rate(detected, missed),
        by_fault={fault: fmean(seen) for fault, seen in sorted(by_fault.items())},
        named_as=named_as,
        false_alarms=sum(one.outcome == "false_alarm" for one in outcomes),
        mttd_s=fmean(delays) if delays else None,
        median_ttd_s=median(delays) if delays else None,
    )


def _delays(outcomes: Sequence[IncidentOutcome] | Sequence[FaultOutcome]) -> list[float]:
    return [
        one.delay_s for one in outcomes if one.outcome == "detected" and one.delay_s is not None
    ]
