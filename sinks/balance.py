"""Does every reading a gateway took in have a row? The sums, from reports and the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from civicstream.events import Counts, LedgerReport
from civicstream.kinds import KINDS

__all__ = ["Balance", "KindBalance", "SeenFrames", "SinkCounts", "balance"]


class SeenFrames(msgspec.Struct, frozen=True):
    """What the database holds of one gateway start's frames of one kind."""

    gateway: str
    epoch: int
    kind: str
    readings: int
    gaps: int
    repeats: int


class SinkCounts(msgspec.Struct, frozen=True):
    """Durable counts of all sinks for one kind; ``accepted`` is rows ever inserted."""

    received: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    replaced: int = 0


class KindBalance(msgspec.Struct, frozen=True):
    """One kind from device to row.

    ``gateway`` adds up the reports that are on the ledger topic; ``on_the_way`` readings are
    confirmed on Kafka by their gateway and not in the database.
    """

    kind: str
    gateway: Counts
    on_the_way: int
    sink: SinkCounts
    gaps: int
    repeats: int
    rows: int | None = None
    """Rows counted in the table, where asked for."""


class Balance(msgspec.Struct, frozen=True):
    """The whole, with what is wrong as sentences; ``waiting_records`` are unread on Kafka."""

    kinds: list[KindBalance]
    waiting_records: int
    in_flight: int
    problems: list[str]
    stages: list[LedgerReport]

    @property
    def settled(self) -> bool:
        """Whether nothing is in flight anywhere."""
        return not (self.in_flight or self.waiting_records)


def balance(
    reports: Sequence[LedgerReport],
    seen: Sequence[SeenFrames],
    counts: Mapping[str, SinkCounts],
    *,
    waiting_records: int,
    rows: Mapping[str, int] | None = None,
) -> Balance:
    """Return the balance.

    ``reports``: the latest of every process start. Read before ``waiting_records``, and ``seen``
    and ``counts`` after it: then, when no record waits, what a gateway has reported must be there.
    """
    gateways = [r for r in reports if r.stage == "gateway"]
    names = {*counts, *(s.kind for s in seen), *(k for r in gateways for k in r.kinds)}
    kinds = [_kind_balance(name, gateways, seen, counts, rows or {}) for name in sorted(names)]
    in_flight = sum(k.gateway.in_flight + k.on_the_way for k in kinds)
    problems = [
        *(sentence for report in reports for sentence in _unbalanced(report)),
        *(sentence for k in kinds for sentence in _wrong(k, waiting_records)),
    ]
    stages = sorted(reports, key=lambda r: (r.stage, r.instance, r.epoch))
    return Balance(kinds, waiting_records, in_flight, problems, stages)


def _kind_balance(
    name: str,
    gateways: Sequence[LedgerReport],
    seen: Sequence[SeenFrames],
    counts: Mapping[str, SinkCounts],
    rows: Mapping[str, int],
) -> KindBalance:
    of_kind = [s for s in seen if s.kind == name]
    stored: dict[tuple[str, int], int] = {}
    for s in of_kind:
        stored[s.gateway, s.epoch] = stored.get((s.gateway, s.epoch), 0) + s.readings
    newest = {
        r.instance: max(x.epoch for x in gateways if x.instance == r.instance) for r in gateways
    }
    total, on_the_way = Counts(), 0
    for report in gateways:
        c = report.kinds.get(name, Counts())
        # What an ended gateway had in flight, the broker has given to its next start.
        flying = c.in_flight if report.epoch == newest[report.instance] else 0
        total.received += c.received - c.in_flight + flying
        total.accepted += c.accepted
        total.rejected += c.rejected
        total.duplicate += c.duplicate
        total.late += c.late
        total.in_flight += flying
        if name in KINDS:  # reports and units travel one by one, not in frames that are counted
            on_the_way += max(0, c.accepted - stored.get((report.instance, report.epoch), 0))
    return KindBalance(
        name,
        total,
        on_the_way,
        counts.get(name, SinkCounts()),
        gaps=sum(s.gaps for s in of_kind),
        repeats=sum(s.repeats for s in of_kind),
        rows=rows.get(name),
    )


def _unbalanced(report: LedgerReport) -> list[str]:
    return [
        f"{report.stage} {report.instance}: {kind}: {counts.imbalance:+} readings unaccounted for"
        for kind, counts in sorted(report.kinds.items())
        if counts.imbalance
    ]


def _wrong(k: KindBalance, waiting_records: int) -> list[str]:
    found = []
    if k.gaps:
        found.append(f"{k.kind}: {k.gaps} frames never came to the sink")
    if k.on_the_way and not waiting_records:
        found.append(
            f"{k.kind}: {k.on_the_way} readings confirmed on Kafka are not in the database, "
            "and no record waits on Kafka"
        )
    s = k.sink
    left = s.received - s.accepted - s.rejected - s.duplicate
    if left:
        found.append(f"{k.kind}: {left:+} readings unaccounted for in the sink")
    if k.rows is not None and k.rows > s.accepted:
        found.append(f"{k.kind}: {k.rows} rows, but only {s.accepted} were ever inserted")
    return found
