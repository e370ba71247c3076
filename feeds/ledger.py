"""What the HTTP front has taken in, for the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from civicstream.events import Counts, LedgerReport
from civicstream.kafka.ledger_report import ReportPace, report_record
from civicstream.settings import KafkaSettings
from feeds.report_output import KafkaRecord

__all__ = ["FeedsLedger"]


@dataclass
class FeedsLedger:
    """Reports since ``epoch`` [ms]: received = accepted + rejected + in flight."""

    kafka: KafkaSettings
    instance: str
    epoch: int
    received: int = 0
    accepted: int = 0
    rejected: int = 0
    """Among them those that Kafka did not confirm in time."""
    rate_limited: int = 0
    gauges: list[Callable[[], Mapping[str, float]]] = field(default_factory=list)
    """What else the parts have to say, asked for each report."""

    _pace: ReportPace = field(default_factory=ReportPace)

    def due(self, at: int) -> list[KafkaRecord]:
        """Return the ledger's record at ``at`` [ms], if it is time for one."""
        flying = self.received - self.accepted - self.rejected
        counts = Counts(self.received, self.accepted, self.rejected, in_flight=flying)
        report = LedgerReport(
            "feeds",
            self.instance,
            self.epoch,
            at,
            {"report": counts},
            self._figures(),
        )
        if not self._pace.due(report):
            return []
        made = report_record(self.kafka, report)
        return [KafkaRecord(made.topic, made.key, made.value, made.headers)]

    def _figures(self) -> dict[str, float]:
        figures = {"rate_limited": float(self.rate_limited)}
        for ask in self.gauges:
            figures |= ask()
        return figures
