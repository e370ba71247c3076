"""Records out to Kafka, each confirmed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import faust

from civicstream.clock import wall_ms
from civicstream.kafka.numbering import is_numbered, numbering_of_process, stamp
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS, topic_name
from streams.results import Record

__all__ = ["Publication"]

log = logging.getLogger(__name__)

Headers = list[tuple[str, bytes]]

_MAX_PAUSE_S = 5.0


class Publication:
    """Sends with the app's producer; Kafka's confirmation is awaited, failures are retried."""

    def __init__(self, app: faust.App, kafka: KafkaSettings, writer: str) -> None:
        self._app = app
        self._kafka = kafka
        self._numbering = numbering_of_process(kafka, writer, wall_ms())
        self._order = asyncio.Lock()
        """The order of the numbers is the order on each partition."""

    async def send(
        self, topic: str, key: bytes | None, value: bytes, partition: int, headers: Headers
    ) -> None:
        """Send one record and return once Kafka has confirmed it."""
        name = topic_name(self._kafka.topic_prefix, topic)
        if not is_numbered(topic):
            await self._app.producer.send_and_wait(name, key, value, partition, None, headers)
            return
        async with self._order:
            number, settle = self._numbering.take((name, partition))
            try:
                sent = await self._app.producer.send(
                    name, key, value, partition, None, [*headers, stamp(number)]
                )
            except BaseException:
                settle(False)
                raise
        try:
            await sent
        except BaseException:
            settle(False)
            raise
        settle(True)

    async def send_results(self, records: Sequence[Record]) -> None:
        """Send results, each to its area's partition, and return once all are confirmed."""
        await asyncio.gather(*(self._send_result(record) for record in records))

    async def _send_result(self, record: Record) -> None:
        partitions = TOPICS[record.topic].partitions or self._kafka.partitions
        partition = partition_of(record.area, partitions)
        await self.send(record.topic, record.area.encode(), record.value, partition, record.headers)

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
