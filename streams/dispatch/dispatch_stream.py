"""The task ``dispatch``: reports, decisions, crews and the clock, each applied once.

A batch of messages, the state after it and what follows from it are one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from faust.types import TP

from civicstream.clock import now_ms
from civicstream.errors import CorruptFrame
from civicstream.kafka.sequences import received
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from streams.dispatch.dispatch import INPUTS, Dispatch, Input, decode_input
from streams.network.network_judgement import RoadOutlook
from streams.runtime.committed_consumer import PlacedMessage
from streams.runtime.records import Record
from streams.runtime.sequence import RecordSequence
from streams.runtime.task_state import Input as ReadInput
from streams.runtime.task_state import TaskState
from streams.runtime.tasks import Failed

__all__ = ["DispatchGauges", "DispatchTask"]

log = logging.getLogger(__name__)

T = TypeVar("T")

# A transaction takes tens of milliseconds whatever is in it; the state of a larger one would be
# long in the making while people wait for an answer to their decision.
_BATCH = 200
_BATCH_BYTES = 256 * 1024
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


class DispatchTask:
    """Reads the topics of reports, crews and evidence while this worker has them."""

    name = "dispatch"

    def __init__(
        self,
        kafka: KafkaSettings,
        make: Callable[[], Dispatch],
        outlook: Callable[[], RoadOutlook | None],
    ) -> None:
        """``make`` returns a dispatch that knows nothing; ``outlook`` the newest speeds, once."""
        self.gauges = DispatchGauges()
        self._topics = {topic_name(kafka.topic_prefix, name): name for name in INPUTS}
        self._make = make
        self._outlook = outlook
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="dispatch")
        self._stream: DispatchStream | None = None

    def inputs(self, _partition: int) -> list[TP]:
        return [TP(topic, 0) for topic in self._topics]

    def partitions(self, assigned: Iterable[TP]) -> set[int]:
        return {0} if any(tp.topic in self._topics for tp in assigned) else set()

    def begin(self, state: TaskState, items: Mapping[str, bytes], failed: Failed) -> None:
        dispatch = self._make()
        dispatch.restore(items)
        stream = DispatchStream(dispatch, state, self._topics, self._outlook, self._executor)
        stream.gauges = self.gauges
        stream.task = asyncio.create_task(stream.work())
        stream.task.add_done_callback(partial(self._ended, stream, failed))
        self._stream = stream

    def _ended(self, stream: DispatchStream, failed: Failed, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and stream is self._stream:
            failed(error)

    def drop(self, _partition: int) -> None:
        stream, self._stream = self._stream, None
        if stream is not None and stream.task is not None:
            stream.assigned = False
            stream.task.cancel()
            stream.discard()

    def sequence(self, tp: TP) -> RecordSequence | None:
        return None if self._stream is None else self._stream.sequences[tp.topic]

    async def take(self, message: PlacedMessage) -> None:
        if self._stream is not None:
            await self._stream.put(message)

    def close(self) -> None:
        self.drop(0)
        self._executor.shutdown()


class DispatchStream:
    """Cases, demand and allocation while their topics are assigned to this worker."""

    def __init__(
        self,
        dispatch: Dispatch,
        state: TaskState,
        topics: Mapping[str, str],
        outlook: Callable[[], RoadOutlook | None],
        executor: ThreadPoolExecutor,
    ) -> None:
        """``topics`` are the names of the inputs by their names on Kafka."""
        self.gauges = DispatchGauges()
        self.assigned = True
        self.task: asyncio.Task[None] | None = None
        begun = {topic: state.inputs[topic] for topic in topics}
        self.sequences = {t: RecordSequence(i.resume_at, i.newest_ms) for t, i in begun.items()}
        self._dispatch = dispatch
        self._state = state
        self._topics = topics
        self._outlook = outlook
        self._executor = executor
        self._waiting: asyncio.Queue[PlacedMessage] = asyncio.Queue(_WAITING)

    async def put(self, message: PlacedMessage) -> None:
        """Wait for its turn in a transaction."""
        await self._waiting.put(message)

    def discard(self) -> None:
        """Let go of whoever waits to put something in."""
        while not self._waiting.empty():
            self._waiting.get_nowait()

    async def work(self) -> None:
        """Apply what comes, and the clock, one transaction after the other."""
        ticked = 0.0
        while self.assigned:
            batch = await self._gather()
            events = [event for message in batch if (event := self._read(message))]
            due = time.monotonic() - ticked >= _TICK_S
            if due:
                ticked = time.monotonic()
            outlook = self._outlook() if due else None
            conclude = partial(self._conclude, events, due, outlook)
            records, items = await self._run(conclude)
            if batch or records or items:
                await self._commit(batch, records, items)

    async def _gather(self) -> list[PlacedMessage]:
        """Return what waits, at most a transaction's worth; nothing after a tick's time."""
        try:
            batch = [await asyncio.wait_for(self._waiting.get(), _TICK_S)]
        except TimeoutError:
            return []
        size = len(batch[0].value or b"")
        while len(batch) < _BATCH and size < _BATCH_BYTES and not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
            size += len(batch[-1].value or b"")
        return batch

    def _read(self, message: PlacedMessage) -> Input | None:
        topic = self._topics[message.topic]
        event: Input | None = None
        try:
            event = decode_input(topic, message.value or b"")
        except CorruptFrame as error:
            # The sink keeps the bytes as a dead letter; here it must only not stop the rest.
            self.gauges.unreadable_events += 1
            log.warning("skipping %s offset %d: %s", topic, message.offset, error)
        else:
            self.gauges.city_events += 1
        number = received(message.topic, 0, message.headers or (), corrupt=event is None)
        self._state.count(message.topic, message.offset, number)
        return event

    def _conclude(
        self, events: list[Input], due: bool, outlook: RoadOutlook | None
    ) -> tuple[list[Record], dict[str, bytes | None]]:
        now = now_ms()
        records = self._dispatch.apply(events, now)
        if due:
            records += self._dispatch.tick(now, outlook)
        return records, self._dispatch.changed()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _commit(
        self,
        batch: list[PlacedMessage],
        records: list[Record],
        items: dict[str, bytes | None],
    ) -> None:
        read = {}
        for message in batch:
            following = message.offset + 1
            topic_id = self._state.inputs[message.topic].topic_id
            newest_ms = self.sequences[message.topic].newest_ms
            read[message.topic] = ReadInput(following, following, topic_id, newest_ms)
        await self._state.commit(records, items, read)
        if self.assigned:
            published = Counter(record.topic for record in records)
            self.gauges.case_versions += published["cases"]
            self.gauges.allocation_versions += published["allocations"]
            self.gauges.bin_forecasts += published["bins"]
            self.gauges.parking_forecasts += published["parking"]
            self.gauges.tour_versions += published["tours"]
