"""The runtime of the city's desk: reports, decisions, crews and the clock, each applied once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import faust

from civicstream.clock import now_ms
from civicstream.errors import CorruptFrame
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from streams.acknowledgements import HeldFrames
from streams.dispatch import INPUTS, Dispatch, Input, decode_input
from streams.durable_table import DurableTable
from streams.exactly_once import Restored, Transaction, TransactionLog
from streams.network_judgement import RoadOutlook
from streams.publication import Publication
from streams.results import Record
from streams.sequence import FrameSequence, Turn

__all__ = ["DispatchAgent", "DispatchGauges"]

log = logging.getLogger(__name__)

T = TypeVar("T")

# A transaction is one Kafka record: what so many events bring stays well below its limit.
_BATCH = 40
_BATCH_BYTES = 64 * 1024
"""Levels of many sensors change ten times as much state."""
_WAITING = 400

_TICK_S = 1.0


@dataclass
class DispatchGauges:
    """Figures of this process for the status view."""

    city_events: int = 0
    """Reports, decisions, crews' messages and evidence taken in."""
    case_versions: int = 0
    allocation_versions: int = 0
    bin_forecasts: int = 0
    parking_forecasts: int = 0
    tour_versions: int = 0
    unreadable_events: int = 0


class DispatchAgent:
    """Reads the desk's topics while this worker has them."""

    def __init__(
        self,
        kafka: KafkaSettings,
        make: Callable[[], Dispatch],
        publication: Publication,
        table: DurableTable,
        outlook: Callable[[], RoadOutlook | None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """``make`` returns a desk that knows nothing; ``outlook`` the newest speeds, once."""
        self.gauges = DispatchGauges()
        self.topics = {topic_name(kafka.topic_prefix, name): name for name in INPUTS}
        self._make = make
        self._publication = publication
        self._table = table
        self._outlook = outlook
        self._on_failure = on_failure
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="dispatch")
        self._desk: _Desk | None = None
        self._beginning = asyncio.Lock()

    async def assigned(self, partitions: set[faust.types.TP]) -> None:
        """Begin where the last owner ended, if the desk's topics are among ``partitions``."""
        if any(tp.topic in self.topics for tp in partitions):
            await self._begun()

    async def read(self, app: faust.App, stream: faust.StreamT) -> None:
        """Pass the stream's records to the desk, each in its turn."""
        async for event in stream.noack().events():
            desk, message = await self._begun(), event.message
            source = desk.source(self.topics[message.topic])
            turn = source.sequence.turn(message.offset, time.monotonic())
            if turn in {Turn.NEXT, Turn.AFTER_GAP}:
                await desk.put(event, self.topics[message.topic])
            elif turn is Turn.ACCOUNTED:
                source.held.hold(event, message.offset, 0)
                source.release(0)
            elif turn is Turn.SEEK:
                await app.consumer.seek(message.tp, source.sequence.expected)

    async def _begun(self) -> _Desk:
        async with self._beginning:
            if self._desk is None:
                desk = _Desk(self)
                await desk.restore()
                desk.task = asyncio.create_task(desk.work())
                desk.task.add_done_callback(self._ended)
                self._desk = desk
            return self._desk

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._on_failure(error)

    def sequences(self) -> list[tuple[faust.types.TP, FrameSequence]]:
        """Return what must come next on each partition that this worker has."""
        if self._desk is None:
            return []
        return [
            (faust.types.TP(topic, 0), self._desk.source(name).sequence)
            for topic, name in self.topics.items()
        ]

    def revoke(self) -> None:
        """Forget everything: the next owner goes on from the last transaction."""
        if self._desk is not None:
            self._desk.revoke()
            self._desk = None

    def close(self) -> None:
        self.revoke()
        self._executor.shutdown()

    def new_desk(self) -> Dispatch:
        return self._make()

    def new_log(self) -> TransactionLog:
        return TransactionLog(self._table, self._publication, "dispatch")

    def speeds(self) -> RoadOutlook | None:
        return self._outlook()

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def persist(
        self, attempt: Callable[[], Awaitable[None]], what: str, wanted: Callable[[], bool]
    ) -> None:
        await self._publication.until_confirmed(attempt, f"dispatch: {what}", wanted)


class _Source:
    """One topic: what must come next, and what waits for its transaction."""

    def __init__(self, next_offset: int) -> None:
        self.sequence = FrameSequence(next_offset)
        self.held: HeldFrames[faust.EventT] = HeldFrames()
        self.next_offset = next_offset

    def release(self, next_offset: int) -> None:
        for event in self.held.release(next_offset):
            event.ack()


class _Desk:
    """The desk while its topics are assigned to this worker."""

    def __init__(self, agent: DispatchAgent) -> None:
        self._agent = agent
        self._dispatch = agent.new_desk()
        self._log = agent.new_log()
        self._sources: dict[str, _Source] = {}
        self._waiting: asyncio.Queue[tuple[str, faust.EventT]] = asyncio.Queue(_WAITING)
        self._assigned = True
        self.task: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        restored: list[Restored] = []

        async def attempt() -> None:
            restored.append(await self._log.restore())

        await self._agent.persist(attempt, "finishing the last transaction", self._is_assigned)
        if restored:
            self._dispatch.restore(restored[-1].items)
            self._sources = {
                topic: _Source(offset) for topic, offset in restored[-1].offsets.items()
            }

    def _is_assigned(self) -> bool:
        return self._assigned

    def source(self, topic: str) -> _Source:
        return self._sources.setdefault(topic, _Source(0))

    async def put(self, event: faust.EventT, topic: str) -> None:
        """Wait for its turn in a transaction; acked once that has happened."""
        offset = event.message.offset
        self.source(topic).held.hold(event, offset, offset + 1)
        await self._waiting.put((topic, event))

    def revoke(self) -> None:
        self._assigned = False
        if self.task is not None:
            self.task.cancel()

    async def work(self) -> None:
        """Apply what comes, and the clock, one transaction after the other."""
        ticked = 0.0
        while self._assigned:
            batch = await self._gather()
            events = [event for topic, record in batch if (event := self._read(topic, record))]
            due = time.monotonic() - ticked >= _TICK_S
            if due:
                ticked = time.monotonic()
            outlook = self._agent.speeds() if due else None
            conclude = partial(self._conclude, events, due, outlook)
            records, items = await self._agent.run(conclude)
            if batch or records or items:
                await self._happen(batch, records, items)

    async def _gather(self) -> list[tuple[str, faust.EventT]]:
        """Return what waits, at most a transaction's worth; nothing after a tick's time."""
        try:
            batch = [await asyncio.wait_for(self._waiting.get(), _TICK_S)]
        except TimeoutError:
            return []
        size = len(batch[0][1].value)
        while len(batch) < _BATCH and size < _BATCH_BYTES and not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
            size += len(batch[-1][1].value)
        return batch

    def _read(self, topic: str, record: faust.EventT) -> Input | None:
        try:
            event = decode_input(topic, record.value)
        except CorruptFrame as error:
            # The sink keeps the bytes as a dead letter; here it must only not stop the rest.
            self._agent.gauges.unreadable_events += 1
            log.warning("skipping %s offset %d: %s", topic, record.message.offset, error)
            return None
        self._agent.gauges.city_events += 1
        return event

    def _conclude(
        self, events: list[Input], due: bool, outlook: RoadOutlook | None
    ) -> tuple[list[Record], dict[str, bytes | None]]:
        now = now_ms()
        records = self._dispatch.apply(events, now)
        if due:
            records += self._dispatch.tick(now, outlook)
        return records, self._dispatch.changed()

    async def _happen(
        self,
        batch: list[tuple[str, faust.EventT]],
        records: list[Record],
        items: dict[str, bytes | None],
    ) -> None:
        for topic, event in batch:
            source = self.source(topic)
            source.next_offset = max(source.next_offset, event.message.offset + 1)
        offsets = {topic: source.next_offset for topic, source in self._sources.items()}
        transaction = Transaction.of(self._log.next_order, offsets, items, records)
        begin, finish = (
            partial(self._log.begin, transaction),
            partial(self._log.finish, transaction),
        )
        await self._agent.persist(begin, "its transaction", self._is_assigned)
        await self._agent.persist(finish, "what follows from it", self._is_assigned)
        if self._assigned:
            gauges = self._agent.gauges
            published = Counter(record.topic for record in records)
            gauges.case_versions += published["cases"]
            gauges.allocation_versions += published["allocations"]
            gauges.bin_forecasts += published["bins"]
            gauges.parking_forecasts += published["parking"]
            gauges.tour_versions += published["tours"]
            for source in self._sources.values():
                source.release(source.next_offset)
