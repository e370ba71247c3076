"""Transactions of a state and what follows from it, on topics without transactions.

A transaction is one record of a durable table: the offsets taken in, the items of state that
changed, and the records to publish. Once Kafka has confirmed it, it has happened: its records are
published, its items written to their own keys and the messages acked, and after a crash in
between all that is done again. Before that nothing has happened. So however often a process dies,
every message is applied to the state once, and what follows is published with one id and one
content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from streams.durable_table import DurableTable
from streams.publication import Publication
from streams.results import Record

__all__ = ["Restored", "Transaction", "TransactionLog"]

_PARTITION = 0


class _Out(msgspec.Struct, frozen=True):
    topic: str
    area: str
    value: bytes
    headers: list[tuple[str, bytes]]


class Transaction(msgspec.Struct, frozen=True):
    """What happens at once."""

    order: int
    offsets: dict[str, int]
    """By topic, the next record to take in afterwards."""
    items: dict[str, bytes | None]
    """Changed items of state; None: gone."""
    out: list[_Out]

    @classmethod
    def of(
        cls,
        order: int,
        offsets: Mapping[str, int],
        items: Mapping[str, bytes | None],
        records: Sequence[Record],
    ) -> Transaction:
        out = [_Out(r.topic, r.area, r.value, r.headers) for r in records]
        return cls(order, dict(offsets), dict(items), out)


@dataclass(frozen=True)
class Restored:
    """Where the last life ended."""

    offsets: dict[str, int]
    items: dict[str, bytes]


class TransactionLog:
    """The transactions of one state; ``name`` keeps it apart from others in the table."""

    def __init__(self, table: DurableTable, publication: Publication, name: str) -> None:
        self._table = table
        self._publication = publication
        self._last = f"{name}/last"
        self._item = f"{name}/item/"
        self.next_order = 1

    async def restore(self) -> Restored:
        """Finish what the last life left unfinished; return its state. Raises what Kafka raises."""
        stored = self._table.read(self._last)
        if stored is None:
            return Restored({}, {})
        last = msgspec.convert(stored, Transaction)
        self.next_order = last.order + 1
        await self.finish(last)
        found = {key: self._table.read(key) for key in self._table.keys(self._item)}
        items = {
            key.removeprefix(self._item): msgspec.convert(item, bytes)
            for key, item in found.items()
            if item is not None
        }
        return Restored(last.offsets, items)

    async def begin(self, transaction: Transaction) -> None:
        """Make it happen; raise what Kafka raises, then it is to be tried again."""
        value = msgspec.to_builtins(transaction)
        await self._table.write(_PARTITION, self._last, transaction.order, value)
        self.next_order = transaction.order + 1

    async def finish(self, transaction: Transaction) -> None:
        """Publish its records and write its items; may be repeated. Raises what Kafka raises."""
        await self._publication.send_results(
            [Record(out.topic, out.area, out.value, out.headers) for out in transaction.out]
        )
        for key, item in transaction.items.items():
            value = None if item is None else msgspec.to_builtins(item)
            await self._table.write(_PARTITION, self._item + key, transaction.order, value)
