"""What the HTTP front has taken in, for the ledger."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from civicstream.cloudevents import cloud_headers
from civicstream.events import Counts, LedgerReport
from feeds.report_output import KafkaRecord

__all__ = ["FeedsLedger"]


@dataclass
class FeedsLedger:
    """Reports since ``epoch`` [ms]: received = accepted + rejected + in flight."""

    instance: str
    epoch: int
    received: int = 0
    accepted: int = 0
    rejected: int = 0
    """Among them those that Kafka did not confirm in time."""
    rate_limited: int = 0

    def record(self, at: int) -> KafkaRecord:
        """Return the ledger's record at ``at`` [ms]."""
        flying = self.received - self.accepted - self.rejected
        counts = Counts(self.received, self.accepted, self.rejected, in_flight=flying)
        report = LedgerReport(
            "feeds",
            self.instance,
            self.epoch,
            at,
            {"report": counts},
            {"rate_limited": float(self.rate_limited)},
        )
        headers = cloud_headers(
            "ledger",
            source=f"feeds/{self.instance}",
            event_id=f"{report.key}/{at}",
            time_ms=at,
        )
        return KafkaRecord("ledger", report.key.encode(), msgspec.json.encode(report), headers)
