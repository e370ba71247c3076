"""How well an algorithm's incidents agree with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.incident_truth import REGIMES, ValuedIncident
from civicstream.city import City
from civicstream.events import Incident

__all__ = ["Alarm", "Score", "Watch", "score"]

NEARBY = 1
"""Segments that the place may be off on either side of the pair of detectors."""
AFTERWARDS_MS = 5 * 60_000
"""An alarm within this time after an incident's end is about it: the queue has not dissolved."""
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Alarm:
    """An incident that becomes confirmed, for the first time or again; segments as indices."""

    id: str
    upstream: int
    downstream: int
    confirmed_at: int
    estimated_start: int


class Watch:
    """Collects the alarms among the versions of one algorithm."""

    def __init__(self, city: City) -> None:
        self._index = city.segment_index
        self.alarms: list[Alarm] = []
        self._state: dict[str, str] = {}
        self.versions = 0

    def take(self, versions: Sequence[Incident]) -> None:
        for version in versions:
            self.versions += 1
            if version.state == "confirmed" != self._state.get(version.id):
                alarm = Alarm(
                    version.id,
                    self._index[version.upstream_segment],
                    self._index[version.downstream_segment],
                    version.window_end,
                    version.estimated_start,
                )
                self.alarms.append(alarm)
            self._state[version.id] = version.state


@dataclass
class Score:
    """Counts of one algorithm; scores of several runs add up."""

    incidents: int = 0
    at_edge: int = 0
    edge_detected: int = 0
    delays_s: list[float] = field(default_factory=list)
    regimes: dict[str, list[int]] = field(default_factory=lambda: {r: [0, 0] for r in REGIMES})
    false_alarms: int = 0
    repeats: int = 0
    decisions: int = 0
    segment_days: float = 0.0
    missed: list[str] = field(default_factory=list)

    def add(self, other: Score) -> None:
        for name in ("incidents", "at_edge", "edge_detected", "false_alarms", "repeats"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.decisions += other.decisions
        self.segment_days += other.segment_days
        self.delays_s += other.delays_s
        self.missed += other.missed
        for regime, (found, there) in other.regimes.items():
            self.regimes[regime][0] += found
            self.regimes[regime][1] += there

    def figures(self) -> dict[str, object]:
        """Return what the bench prints; alarms that repeat an incident count as false."""
        false = self.false_alarms + self.repeats
        delays = np.array(self.delays_s or [np.nan])
        return {
            "detection_rate": round(len(self.delays_s) / max(self.incidents, 1), 4),
            "false_alarm_rate": round(false / max(self.decisions, 1), 8),
            "false_alarms_per_day_per_100_segments": round(false / self.segment_days * 100, 3),
            "mttd_s": round(float(delays.mean()), 1),
            "ttd_median_s": round(float(np.median(delays)), 1),
            "ttd_p90_s": round(float(np.percentile(delays, 90)), 1),
            "incidents": self.incidents,
            "detected": len(self.delays_s),
            "false_alarms": false,
            "of_these_repeats": self.repeats,
            "decisions": self.decisions,
            "edge_incidents": self.at_edge,
            "edge_detected": self.edge_detected,
        } | {
            f"detection_rate_{regime}": round(found / there, 4) if there else None
            for regime, (found, there) in self.regimes.items()
        }


def score(
    city: City,
    truth: Sequence[ValuedIncident],
    alarms: Sequence[Alarm],
    *,
    reporting: np.ndarray,
    decisions: int,
    days: float,
) -> Score:
    """Compare ``alarms`` with the ``truth``; ``reporting`` [n]: segments with a detector."""
    result = Score(decisions=decisions, segment_days=len(city.segments) * days)
    first = _attribute(city, truth, alarms, result)
    for valued in truth:
        if not valued.counts:
            continue
        found = first.get(valued.incident.id)
        if not _between_detectors(city, valued, reporting):
            result.at_edge += 1
            result.edge_detected += found is not None
            continue
        result.incidents += 1
        result.regimes[valued.regime][1] += 1
        if found is None:
            result.missed.append(valued.incident.id)
            continue
        result.regimes[valued.regime][0] += 1
        result.delays_s.append((found.confirmed_at - valued.incident.start_ms) / 1000)
    return result


def _attribute(
    city: City, truth: Sequence[ValuedIncident], alarms: Sequence[Alarm], result: Score
) -> dict[str, Alarm]:
    """Return the alarm that detected each true incident, by its id; count what detected none.

    An incident that is confirmed again may detect what began meanwhile; its id counts as a false
    alarm or as a repeat once at most.
    """
    first: dict[str, Alarm] = {}
    counted: set[str] = set()
    for alarm in sorted(alarms, key=lambda a: a.confirmed_at):
        causes = [valued for valued in truth if _explains(city, valued, alarm)]
        fresh = next((v for v in causes if v.incident.id not in first), None)
        if fresh is not None:
            first[fresh.incident.id] = alarm
        elif alarm.id not in counted:
            result.repeats += bool(causes)
            result.false_alarms += not causes
        counted.add(alarm.id)
    return first


def _explains(city: City, valued: ValuedIncident, alarm: Alarm) -> bool:
    incident, segments = valued.incident, city.segments
    at, up, down = segments[incident.segment], segments[alarm.upstream], segments[alarm.downstream]
    return (
        at.corridor == up.corridor
        and up.position - NEARBY <= at.position <= down.position + NEARBY
        and incident.start_ms < alarm.confirmed_at <= incident.end_ms + AFTERWARDS_MS
    )


def _between_detectors(city: City, valued: ValuedIncident, reporting: np.ndarray) -> bool:
    """Whether a detector stands up- and one downstream of it; they stand in mid-segment."""
    segments = city.segments
    at = segments[valued.incident.segment]
    place = at.position + valued.incident.position
    detectors = [
        s.position + 0.5
        for s, reports in zip(segments, reporting.tolist(), strict=True)
        if reports and s.corridor == at.corridor
    ]
    return min(detectors, default=place) < place < max(detectors, default=place)
