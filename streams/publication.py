"""Records out to Kafka, each confirmed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import faust
import msgspec

from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from streams.results import Record
from streams.windows import Progress

__all__ = ["Publication"]

log = logging.getLogger(__name__)

Headers = list[tuple[str, bytes]]

_MAX_PAUSE_S = 5.0


class Publication:
    """Sends with the app's producer; Kafka's confirmation is awaited, failures are retried."""

    def __init__(self, app: faust.App, table: faust.Table, kafka: KafkaSettings) -> None:
        self._app = app
        self._table = table
        self._kafka = kafka
        # One at a time per partition: recovery counts on single-record batches (the embedded
        # broker reports the end of a changelog short of a last batch with several records).
        self._changelog_locks: dict[int, asyncio.Lock] = {}
        self._recorded: dict[str, Progress] = {}

    async def send(
        self, topic: str, key: bytes | None, value: bytes, partition: int, headers: Headers
    ) -> None:
        """Send one record and return once Kafka has confirmed it."""
        name = topic_name(self._kafka.topic_prefix, topic)
        await self._app.producer.send_and_wait(name, key, value, partition, None, headers)

    async def send_results(self, records: Sequence[Record]) -> None:
        """Send results, each to its area's partition, and return once all are confirmed."""
        sends = (
            self.send(
                record.topic,
                record.area.encode(),
                record.value,
                partition_of(record.area, self._kafka.partitions),
                record.headers,
            )
            for record in records
        )
        await asyncio.gather(*sends)

    async def until_confirmed(
        self, attempt: Callable[[], Awaitable[None]], what: str, wanted: Callable[[], bool]
    ) -> None:
        """Try ``attempt`` with backoff until it succeeds or is no longer wanted."""
        pause_s = 0.1
        while wanted():
            try:
                await attempt()
            except Exception as error:
                log.warning("%s failed, trying again in %.1f s: %r", what, pause_s, error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _MAX_PAUSE_S)
            else:
                return

    def recorded_progress(self, topic: str, partition: int) -> Progress:
        """Return the durable progress of a partition of frames."""
        key = f"{topic}/{partition}"
        stored = self._table.data.get(key)
        recovered = msgspec.convert(stored, Progress) if stored else Progress()
        # Faust's recovery may stop short of what this process wrote last.
        own = self._recorded.get(key, Progress())
        return own if own.next_offset > recovered.next_offset else recovered

    async def record_progress(self, topic: str, partition: int, progress: Progress) -> None:
        """Write the progress to the table's changelog, and to the table once confirmed."""
        key, value = f"{topic}/{partition}", msgspec.to_builtins(progress)
        lock = self._changelog_locks.setdefault(partition, asyncio.Lock())
        async with lock:
            confirmation = await self._table.changelog_topic.send(
                key=key,
                value=value,
                partition=partition,
                key_serializer="json",
                value_serializer="json",
            )
            await confirmation
        self._table.data[key] = value
        self._recorded[key] = progress
