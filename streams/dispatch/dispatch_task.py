"""The task ``dispatch``: reports, decisions, crews and the clock, each applied once.

A batch of messages, the state after it and what follows from it are one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from civicstream.clock import now_ms
from civicstream.errors import CorruptFrame
from civicstream.kafka.sequences import received
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from streams.dispatch.dispatch import INPUTS, Dispatch, InputEvent, decode_input
from streams.network.network_judgement import RoadOutlook
from streams.runtime.committed_consumer import PlacedMessage
from streams.runtime.records import Record
from streams.runtime.task import BackgroundWork, Failed
from streams.runtime.task_state import Input, TaskState

__all__ = ["DispatchGauges", "DispatchPartition", "DispatchTask"]

log = logging.getLogger(__name__)

# A transaction takes tens of milliseconds whatever is in it; the state of a larger one would be
# long in the making while people wait for an answer to their decision.
_BATCH = 200
_BATCH_BYTES = 256 * 1024
"""Levels of many sensors change ten times as much state."""
_MAX_WAITING = 400

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
    """Reads the topics of reports, crews and evidence, which have one partition each."""

    name = "dispatch"

    def __init__(
        self,
        kafka: KafkaSettings,
        make: Callable[[], Dispatch],
        outlook: Callable[[], RoadOutlook | None],
    ) -> None:
        """``make`` returns a dispatch that knows nothing; ``outlook`` the newest speeds, once."""
        self.gauges = DispatchGauges()
        self.topics = {topic_name(kafka.topic_prefix, name): name for name in INPUTS}
        self.partitions: dict[int, DispatchPartition] = {}
        self._make = make
        self._outlook = outlook
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="dispatch")

    def on_assigned(
        self, state: TaskState, items: Mapping[str, bytes], failed: Failed
    ) -> DispatchPartition:
        dispatch = self._make()
        dispatch.restore(items)
        return DispatchPartition(
            dispatch=dispatch,
            state=state,
            topics=self.topics,
            outlook=self._outlook,
            executor=self._executor,
            gauges=self.gauges,
            failed=failed,
        )

    def close(self) -> None:
        self._executor.shutdown()


@dataclass
class DispatchPartition:
    """Cases, demand and allocation while their topics are assigned to this worker."""

    dispatch: Dispatch
    state: TaskState
    topics: Mapping[str, str]
    """The names of the inputs by their names on Kafka."""
    outlook: Callable[[], RoadOutlook | None]
    executor: Executor
    gauges: DispatchGauges
    failed: Failed
    _waiting: deque[PlacedMessage] = field(default_factory=deque)
    _ticked: float = 0.0

    def __post_init__(self) -> None:
        self._work = BackgroundWork(self._work_off, self.failed)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= _MAX_WAITING

    async def on_record(self, message: PlacedMessage) -> None:
        self._waiting.append(message)
        self._work.start()

    def on_tick(self, _silent_ms: Mapping[str, int]) -> None:
        if self._is_due():
            self._work.start()

    def _is_due(self) -> bool:
        return bool(self._waiting) or self._tick_is_due()

    def _tick_is_due(self) -> bool:
        return time.monotonic() - self._ticked >= _TICK_S

    def on_revoked(self) -> None:
        self._work.cancel()

    async def _work_off(self) -> None:
        """Apply what waits, and the clock, one transaction after the other."""
        while self.state.assigned and self._is_due():
            batch = self._next_batch()
            events = [event for message in batch if (event := self._read(message))]
            due = self._tick_is_due()
            if due:
                self._ticked = time.monotonic()
            outlook = self.outlook() if due else None
            records, items = await asyncio.get_running_loop().run_in_executor(
                self.executor, self._conclude, events, due, outlook
            )
            if batch or records or items:
                await self._commit(batch, records, items)

    def _next_batch(self) -> list[PlacedMessage]:
        """Return what waits, at most a transaction's worth."""
        batch: list[PlacedMessage] = []
        size = 0
        while self._waiting and len(batch) < _BATCH and size < _BATCH_BYTES:
            batch.append(self._waiting.popleft())
            size += len(batch[-1].value or b"")
        return batch

    def _read(self, message: PlacedMessage) -> InputEvent | None:
        topic = self.topics[message.topic]
        event: InputEvent | None = None
        try:
            event = decode_input(topic, message.value or b"")
        except CorruptFrame as error:
            # The sink keeps the bytes as a dead letter; here it must only not stop the rest.
            self.gauges.unreadable_events += 1
            log.warning("skipping %s offset %d: %s", topic, message.offset, error)
        else:
            self.gauges.city_events += 1
        number = received(message.topic, 0, message.headers or (), corrupt=event is None)
        self.state.count(message.topic, message.offset, number)
        return event

    def _conclude(
        self, events: list[InputEvent], due: bool, outlook: RoadOutlook | None
    ) -> tuple[list[Record], dict[str, bytes | None]]:
        now = now_ms()
        records = self.dispatch.apply(events, now)
        if due:
            records += self.dispatch.tick(now, outlook)
        return records, self.dispatch.changed()

    async def _commit(
        self,
        batch: list[PlacedMessage],
        records: list[Record],
        items: dict[str, bytes | None],
    ) -> None:
        read: dict[str, Input] = {}
        for message in batch:
            following = message.offset + 1
            read |= self.state.read_to(message.topic, following, following)
        await self.state.commit(records, items, read)
        if self.state.assigned:
            published = Counter(record.topic for record in records)
            self.gauges.case_versions += published["cases"]
            self.gauges.allocation_versions += published["allocations"]
            self.gauges.bin_forecasts += published["bins"]
            self.gauges.parking_forecasts += published["parking"]
            self.gauges.tour_versions += published["tours"]
