"""The sink's page of the ledger."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from civicstream.events import Counts, LedgerReport
from civicstream.kafka.log_gaps import LogGap
from sinks.written import Written

__all__ = ["SinkLedger"]

_GAUGES = {
    "incidents": "incidents_written",
    "forecasts": "forecasts_written",
    "sensor_health": "health_written",
    "anomalies": "anomalies_written",
    "citizen_reports": "reports_written",
    "cases": "cases_written",
    "units": "units_written",
    "allocations": "allocations_written",
    "demand": "demand_written",
    "actions": "actions_written",
    "bin_forecasts": "bins_written",
    "parking_forecasts": "parking_written",
    "tours": "tours_written",
    "alerts": "alerts_written",
    "frame_gaps": "gaps_written",
    "sealed_records": "private_written",
}
"""Table -> gauge, named for the topic."""


class SinkLedger:
    """Cumulative counts of one sink since its start ``epoch`` [ms]."""

    def __init__(self, instance: str, epoch: int) -> None:
        self._instance = instance
        self._epoch = epoch
        self._kinds: dict[str, Counts] = defaultdict(Counts)
        self._result_rows = 0
        self._events: Counter[str] = Counter()
        self._transactions = 0
        self._gaps: list[int] = []
        """Records of each gap found in Kafka's log."""

    def add(self, written: Written) -> None:
        """Count a committed transaction."""
        for kind, counts in written.kinds.items():
            total = self._kinds[kind]
            total.received += counts.received
            total.accepted += counts.accepted
            total.rejected += counts.rejected
            total.duplicate += counts.duplicate
            total.corrected += counts.corrected
        self._result_rows += written.result_rows
        self._events.update(written.events)
        self._transactions += 1

    def add_gaps(self, gaps: Iterable[LogGap]) -> None:
        """Count gaps found in Kafka's log."""
        self._gaps += [gap.missing for gap in gaps]

    def report(self, at: int, *, pending: dict[str, int], lag: int) -> LedgerReport:
        """Return the report; ``pending`` readings per kind are received and not yet committed."""
        kinds = {}
        for kind in sorted({*self._kinds, *pending}):
            c, waiting = self._kinds[kind], pending.get(kind, 0)
            kinds[kind] = Counts(
                received=c.received + waiting,
                accepted=c.accepted,
                rejected=c.rejected,
                duplicate=c.duplicate,
                in_flight=waiting,
                corrected=c.corrected,
            )
        return LedgerReport(
            stage="sink",
            instance=self._instance,
            epoch=self._epoch,
            at=at,
            kinds=kinds,
            gauges={
                "rows_written": sum(c.accepted for c in self._kinds.values()),
                "results_written": self._result_rows,
                **{gauge: self._events[table] for table, gauge in _GAUGES.items()},
                "lag_records": lag,
                "transactions": self._transactions,
                "kafka_gaps": len(self._gaps),
                "kafka_gap_records": sum(self._gaps),
            },
        )
