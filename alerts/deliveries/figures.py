"""What one delivery has done, for the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from civicstream.events import ReadPosition, ReadSequence

__all__ = ["Figures", "ReadSoFar"]

ReadSoFar = tuple[list[ReadSequence], ReadPosition]
"""Which of the writers' numbers have come, and up to where in the log."""


@dataclass
class Figures:
    """Written by the receiver's own thread, read by the one that reports."""

    name: str
    delivered: int = 0
    failed: int = 0
    """Became dead letters."""
    attempts: int = 0
    lag_records: int = 0
    waiting_since_ms: int | None = None
    """First attempt at what is tried again and again; None while nothing is."""
    log_gaps: int = 0
    """How often Kafka's log was not the one that had been read."""
    ready: bool = False
    """It has its partition and knows where to go on."""
    read: ReadSoFar | None = None
    """As of the last records that are done with."""

    def gauges(self, now_ms: int) -> dict[str, float]:
        """Return the figures by name, the receiver's in front."""
        since = self.waiting_since_ms
        values = {
            "delivered": self.delivered,
            "failed": self.failed,
            "attempts": self.attempts,
            "waiting_s": 0.0 if since is None else max(0, now_ms - since) / 1000,
            "lag_records": self.lag_records,
            "log_gaps": self.log_gaps,
            "ready": int(self.ready),
        }
        return {f"{self.name}.{what}": float(value) for what, value in values.items()}
