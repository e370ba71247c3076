"""Which true incidents were detected and when, and which detections have no truth; the same for
broken sensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sinks.truth.files import Span, TrueFault, TrueIncident

__all__ = [
    "Detection",
    "FaultOutcome",
    "IncidentOutcome",
    "Outcome",
    "Rules",
    "Unhealthy",
    "match_faults",
    "match_incidents",
]

Outcome = Literal["detected", "missed", "pending", "repeated", "false_alarm"]
"""``repeated``: one more detection of an incident that has one; ``pending``: too young to say."""


@dataclass(frozen=True)
class Rules:
    """What counts as a detection of an incident, or of a broken sensor."""

    grace_ms: int = 5 * 60_000
    """A detection may come this long after the end: its evidence was from before."""
    pending_ms: int = 5 * 60_000
    """What has begun so recently and was not detected yet was not missed yet."""
    detectors: float = 2.0
    """How far from the true segment, counted in detectors along the corridor."""


@dataclass(frozen=True)
class Detection:
    """A detected incident, placed between two detectors; ``detected_at`` is the end of the window
    whose version was the first to be confirmed, ``published_at`` when it was computed [ms].
    """

    id: str
    area: str
    corridor: str
    segment: str
    upstream_segment: str
    downstream_segment: str
    detected_at: int
    published_at: int
    severity: float


@dataclass(frozen=True)
class IncidentOutcome:
    """A true incident, a detection, or both together."""

    outcome: Outcome
    truth: TrueIncident | None
    detection: Detection | None

    @property
    def delay_s(self) -> float | None:
        """Time to detect, in event time."""
        if self.truth is None or self.detection is None:
            return None
        return (self.detection.detected_at - self.truth.start_ms) / 1000


@dataclass(frozen=True)
class Unhealthy:
    """A sensor's change from ok to something else; ``detected_at`` is the end of the window."""

    sensor_key: int
    kind: str
    area: str
    sensor: str | None
    health: str
    reason: str
    detected_at: int


@dataclass(frozen=True)
class FaultOutcome:
    """A broken sensor, a change of health, or both together."""

    outcome: Outcome
    truth: TrueFault | None
    change: Unhealthy | None

    @property
    def delay_s(self) -> float | None:
        if self.truth is None or self.change is None:
            return None
        return (self.change.detected_at - self.truth.start_ms) / 1000


def match_incidents(
    truth: Sequence[TrueIncident],
    detections: Sequence[Detection],
    places: Mapping[str, float],
    span: Span,
    now_ms: int,
    rules: Rules,
) -> list[IncidentOutcome]:
    """Return an outcome for every true incident and for every detection of the span.

    ``places``: segment -> place along its corridor in detectors (a segment without detector lies
    half way). Each detection goes to the one incident it fits best: the nearest, then the one
    that began last. The first of an incident's detections is the detection.
    """
    found: dict[str, Detection] = {}
    outcomes: list[IncidentOutcome] = []
    for detection in sorted(detections, key=lambda d: (d.detected_at, d.id)):
        if not span.start_ms <= detection.detected_at <= span.end_ms + rules.grace_ms:
            continue
        fitting = [
            (distance, -incident.start_ms, incident.id, incident)
            for incident in truth
            if (distance := _distance(incident, detection, places, rules)) is not None
        ]
        if not fitting:
            outcomes.append(IncidentOutcome("false_alarm", None, detection))
            continue
        incident = min(fitting)[3]
        if incident.id in found:
            outcomes.append(IncidentOutcome("repeated", incident, detection))
        found.setdefault(incident.id, detection)
    for incident in truth:
        detected = found.get(incident.id)
        if detected:
            outcome: Outcome = "detected"
        else:
            young = now_ms < incident.start_ms + rules.pending_ms
            outcome = "pending" if young else "missed"
        outcomes.append(IncidentOutcome(outcome, incident, detected))
    return outcomes


def _distance(
    incident: TrueIncident, detection: Detection, places: Mapping[str, float], rules: Rules
) -> float | None:
    """Return how many detectors lie between the two, None where they do not fit."""
    if incident.corridor != detection.corridor:
        return None
    if not incident.start_ms <= detection.detected_at <= incident.end_ms + rules.grace_ms:
        return None
    at = places[incident.segment]
    upstream = places.get(detection.upstream_segment)
    downstream = places.get(detection.downstream_segment)
    if upstream is None or downstream is None:
        return None
    distance = max(0.0, upstream - at, at - downstream)
    return distance if distance <= rules.detectors else None


def match_faults(
    truth: Sequence[TrueFault],
    changes: Sequence[Unhealthy],
    span: Span,
    now_ms: int,
    rules: Rules,
) -> list[FaultOutcome]:
    """Return an outcome for every broken sensor and for every change away from ok of the span.

    A change belongs to the fault of its sensor during which it came, whatever it calls it.
    """
    by_sensor: dict[int, list[TrueFault]] = {}
    for fault in truth:
        by_sensor.setdefault(fault.sensor_key, []).append(fault)
    found: dict[TrueFault, Unhealthy] = {}
    outcomes: list[FaultOutcome] = []
    for change in sorted(changes, key=lambda c: c.detected_at):
        if not span.start_ms <= change.detected_at <= span.end_ms + rules.grace_ms:
            continue
        during = [f for f in by_sensor.get(change.sensor_key, ()) if _lasts(f, change, rules)]
        if not during:
            outcomes.append(FaultOutcome("false_alarm", None, change))
        elif during[-1] in found:
            outcomes.append(FaultOutcome("repeated", during[-1], change))
        else:
            found[during[-1]] = change
    for fault in truth:
        if fault.start_ms > now_ms:
            continue  # drawn beforehand, not broken yet
        young = now_ms < fault.start_ms + rules.pending_ms
        undetected: Outcome = "pending" if young else "missed"
        seen = found.get(fault)
        outcomes.append(FaultOutcome("detected" if seen else undetected, fault, seen))
    return outcomes


def _lasts(fault: TrueFault, change: Unhealthy, rules: Rules) -> bool:
    if change.detected_at < fault.start_ms:
        return False
    return fault.end_ms is None or change.detected_at <= fault.end_ms + rules.grace_ms
