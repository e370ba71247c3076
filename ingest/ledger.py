"""What the gateway has received and what became of it, in readings per kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from civicstream.events import Counts, LedgerReport, WrittenSequence

__all__ = ["Ledger"]


class Ledger:
    """Cumulative counts since ``epoch`` [ms]; received = accepted + rejected + in flight.

    A reading counts as accepted or rejected once Kafka has confirmed its frame or dead letter.
    A payload that cannot be parsed counts as one reading. Citizens' reports and what units say
    are counted beside the readings, a message each, as ``report`` and ``unit``.
    """

    def __init__(self, gateway: str, epoch: int) -> None:
        self._gateway = gateway
        self._epoch = epoch
        self.received: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.gauges = Counter(
            {"frames": 0, "bytes": 0, "dead_letters": 0, "events": 0, "rate_limited": 0}
        )

    def report(
        self, at: int, written: Sequence[WrittenSequence] = (), **gauges: float
    ) -> LedgerReport:
        """Return the counts at ``at`` [ms], with the frames written and further gauges."""
        kinds = {
            kind: Counts(
                received=received,
                accepted=self.accepted[kind],
                rejected=self.rejected[kind],
                in_flight=received - self.accepted[kind] - self.rejected[kind],
            )
            for kind, received in self.received.items()
        }
        merged = {name: float(value) for name, value in (self.gauges | gauges).items()}
        return LedgerReport(
            "gateway", self._gateway, self._epoch, at, kinds, merged, written=list(written)
        )
