"""Rates and totals of each stage from successive ledger reports: pure arithmetic."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from civicstream.events import LedgerReport

__all__ = ["LedgerHistory", "StageFigures"]

_RATE_OVER_MS = 5_000  # long enough that one late report does not make the rate jump
_SILENT_AFTER_MS = 5_000  # reports come every second; a process this silent has no rate

# Gauges of the present moment; the others are cumulative since the process's start.
_MOMENTARY = {
    "in_flight_messages",
    "open_windows",
    "lag_records",
    "open_incidents",
    "unhealthy_sensors",
    "alerts_active",
    "live_clients",
}


@dataclass(frozen=True)
class StageFigures:
    """A stage over all its processes. ``rate`` is readings received per second."""

    rate: float = 0.0
    received: int = 0
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    gauges: dict[str, float] = field(default_factory=dict)


class LedgerHistory:
    """The reports of processes started at or after ``since_ms``."""

    def __init__(self, since_ms: int) -> None:
        self._since_ms = since_ms
        self._recent: dict[str, deque[LedgerReport]] = {}

    def add(self, report: LedgerReport) -> None:
        if report.epoch < self._since_ms:
            return
        recent = self._recent.setdefault(report.key, deque())
        recent.append(report)
        # One report older than the span stays, so that the rate covers all of it.
        while len(recent) > 2 and report.at - recent[1].at >= _RATE_OVER_MS:
            recent.popleft()

    def ready(self, stage: str, started_ms: int) -> bool:
        """Return whether a process of the stage started then or later has reported."""
        return any(r[-1].epoch >= started_ms for r in self._of(stage))

    def idle(self, stage: str, asked_ms: int) -> bool:
        """Return whether the stage's newest process has said since ``asked_ms`` it has no lag."""
        newest = max(self._of(stage), key=lambda r: r[-1].epoch, default=None)
        if newest is None or newest[-1].at <= asked_ms:
            return False
        gauges = newest[-1].gauges
        return not gauges.get("lag_records") and not gauges.get("in_flight_messages")

    def figures(self, stage: str, now_ms: int) -> StageFigures:
        """Return the stage's figures at ``now_ms``; a silent process adds to totals only."""
        processes = list(self._of(stage))
        counts = [c for reports in processes for c in reports[-1].kinds.values()]
        live = [r for r in processes if now_ms - r[-1].at <= _SILENT_AFTER_MS]
        return StageFigures(
            rate=sum(_rate(reports) for reports in live),
            received=sum(c.received for c in counts),
            accepted=sum(c.accepted for c in counts),
            rejected=sum(c.rejected for c in counts),
            late=sum(c.late for c in counts),
            gauges=_sum_gauges([r[-1] for r in processes], [r[-1] for r in live]),
        )

    def gauge_rate(self, stage: str, gauge: str, now_ms: int) -> float:
        """Return how much a cumulative gauge grows per second over the stage's processes."""
        live = (r for r in self._of(stage) if now_ms - r[-1].at <= _SILENT_AFTER_MS)
        return sum(
            _per_second(r, r[-1].gauges.get(gauge, 0) - r[0].gauges.get(gauge, 0)) for r in live
        )

    def _of(self, stage: str) -> Iterable[deque[LedgerReport]]:
        return (r for r in self._recent.values() if r[-1].stage == stage)


def _rate(reports: deque[LedgerReport]) -> float:
    first, last = (sum(c.received for c in r.kinds.values()) for r in (reports[0], reports[-1]))
    return _per_second(reports, last - first)


def _per_second(reports: deque[LedgerReport], growth: float) -> float:
    span_ms = reports[-1].at - reports[0].at
    return growth * 1000 / span_ms if span_ms > 0 else 0.0


def _sum_gauges(all_last: list[LedgerReport], live_last: list[LedgerReport]) -> dict[str, float]:
    total: dict[str, float] = {}
    for report in all_last:
        for name, value in report.gauges.items():
            if name not in _MOMENTARY or report in live_last:
                total[name] = total.get(name, 0.0) + value
    return total
