"""State that outlives a process: a Faust table whose every write is confirmed before it counts."""

from __future__ import annotations

import asyncio
from typing import Any

import faust
import msgspec

__all__ = ["DurableTable"]


class _Stored(msgspec.Struct, frozen=True):
    order: int
    state: Any


class DurableTable:
    """Values by key, each written with an ``order`` that grows with every write of that key."""

    def __init__(self, table: faust.Table) -> None:
        self._table = table
        # One at a time per partition: recovery counts on single-record batches (the embedded
        # broker reports the end of a changelog short of a last batch with several records).
        self._locks: dict[int, asyncio.Lock] = {}
        self._written: dict[str, _Stored] = {}

    def read(self, key: str) -> Any:
        """Return the newest value of a key, None where there is none."""
        stored = self._newest(key)
        return None if stored is None else stored.state

    def keys(self, prefix: str) -> list[str]:
        """Return every key that begins with ``prefix``."""
        known = {*self._table.data, *self._written}
        return sorted(key for key in known if key.startswith(prefix))

    def _newest(self, key: str) -> _Stored | None:
        found = self._table.data.get(key)
        recovered = msgspec.convert(found, _Stored) if found else None
        # Faust's recovery may stop short of what this process wrote last.
        own = self._written.get(key)
        if own is None or (recovered is not None and recovered.order > own.order):
            return recovered
        return own

    async def write(self, partition: int, key: str, order: int, value: Any) -> None:
        """Write to the table's changelog, and to the table once Kafka has confirmed it.

        ``value`` is of JSON's types. Raises what the producer raises; nothing is written then.
        """
        stored = _Stored(order, value)
        encoded = msgspec.to_builtins(stored)
        async with self._locks.setdefault(partition, asyncio.Lock()):
            confirmation = await self._table.changelog_topic.send(
                key=key,
                value=encoded,
                partition=partition,
                key_serializer="json",
                value_serializer="json",
            )
            await confirmation
        self._table.data[key] = encoded
        self._written[key] = stored
