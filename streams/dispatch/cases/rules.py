"""The rules of cases that are the same for all services."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HOUR_MS", "CaseRules"]

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class CaseRules:
    """Spans in hours, lengths in metres; docs/reports.md gives the reasons."""

    report_memory_h: float = 30 * 24
    """A report is known again for this long after it was made, and refused when it is older: so
    none can count twice. As long as the topic keeps reports; a phone may be offline for weeks."""
    closed_memory_h: float = 14 * 24
    """A closed case stays at hand for this long: for reopening, and for actions that come late."""
    reopen_h: float = 72
    """A new report this long after the closing says that the problem is still there."""
    near_share: float = 0.75
    """Share of the time to the target after which a case is ``near`` it."""
    evidence_slack_h: float = 2
    """How far apart what a sensor and what a person saw may be."""
    evidence_reach_m: float = 250
    """How far from a sensor its evidence holds, on top of the service's own radius."""
    evidence_silent_h: float = 48
    """Evidence of which nothing more comes ends after this long: its end may have been lost."""
    burst_allowance: float = 5
    """Problems that one reporter may report within about a day at full credit."""
    burst_half_life_h: float = 24
    sensor_credit: float = 2
    """What confirms a case counts as so many people."""
    many_reporters: float = 7
    """From so much credit on a case is one priority higher."""
    max_reporters: int = 500
    """Remembered per case; the weight hardly grows beyond."""
    max_confirmations: int = 8
    max_description: int = 4_000
    """Characters."""
