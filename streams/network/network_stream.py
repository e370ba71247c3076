"""The task ``network``: the city's traffic windows assembled, judged, published and remembered.

What follows from a window, the state after it and the records that made it are one transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec
from faust.types import TP

from civicstream.clock import city_clock, now_ms
from civicstream.errors import CivicStreamError, CorruptFrame
from civicstream.kafka.sequences import received
from civicstream.local_time import local_offset
from civicstream.partitioning import partition_of
from civicstream.settings import Settings
from civicstream.topics import topic_name
from streams.network.network_assembly import AssemblyProgress, NetworkAssembly
from streams.network.network_judgement import NetworkJudgement, RoadOutlook
from streams.runtime.committed_consumer import PlacedMessage
from streams.runtime.records import Record
from streams.runtime.sequence import RecordSequence
from streams.runtime.task_state import Input, TaskState
from streams.runtime.tasks import Failed
from streams.windows.network import NetworkWindow, RoadNetwork
from streams.windows.network_frames import decode

__all__ = ["NetworkGauges", "NetworkTask"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_PROGRESS = "progress"
_EXACT = "exact/"
_LEARNED = "learned/"


@dataclass
class NetworkGauges:
    """Figures of this process for the status view."""

    network_windows: int = 0
    network_missed: int = 0
    incident_versions: int = 0
    open_incidents: int = 0
    forecasts_published: int = 0


class NetworkTask:
    """Reads the topic ``network`` while this worker has it."""

    name = "network"

    def __init__(
        self,
        settings: Settings,
        network: RoadNetwork,
        executor: Executor,
    ) -> None:
        self.gauges = NetworkGauges()
        self._tp = TP(topic_name(settings.kafka.topic_prefix, "network"), 0)
        self._settings = settings
        self._network = network
        self._executor = executor
        partitions = settings.kafka.partitions
        self._partitions = {partition_of(area, partitions) for area in network.areas}
        self._stream: NetworkStream | None = None

    def inputs(self, _partition: int) -> list[TP]:
        return [self._tp]

    def partitions(self, assigned: Iterable[TP]) -> set[int]:
        return {0} if self._tp in set(assigned) else set()

    def begin(self, state: TaskState, items: Mapping[str, bytes], _failed: Failed) -> None:
        stored = items.get(_PROGRESS)
        progress = (
            msgspec.msgpack.decode(stored, type=AssemblyProgress) if stored else AssemblyProgress()
        )
        read = state.inputs[self._tp.topic]
        progress = msgspec.structs.replace(progress, resume_at=read.resume_at)
        window_ms = self._settings.windows.size_s * 1000
        self._stream = NetworkStream(
            topic=self._tp.topic,
            assembly=NetworkAssembly(
                self._network, window_ms, self._partitions, progress, city_clock().speed
            ),
            judgement=self._restored(items),
            sequence=RecordSequence(read.resume_at, read.newest_ms),
            state=state,
            executor=self._executor,
            gauges=self.gauges,
        )

    def _restored(self, items: Mapping[str, bytes]) -> NetworkJudgement:
        """Return the judgement with the state that the last owner of the topic left."""
        settings = self._settings

        def young() -> NetworkJudgement:
            return NetworkJudgement(
                self._network,
                settings.intelligence,
                settings.windows.size_s,
                local_offset(settings.city.timezone),
            )

        judgement = young()
        try:
            judgement.restore(_under(_EXACT, items), _under(_LEARNED, items))
        except (CivicStreamError, ValueError) as error:
            log.warning("incidents and forecasts begin anew, their state does not fit: %s", error)
            return young()
        return judgement

    def drop(self, _partition: int) -> None:
        if self._stream is not None:
            self._stream.assigned = False
            self._stream = None
            self.gauges.open_incidents = 0

    def sequence(self, _tp: TP) -> RecordSequence | None:
        return None if self._stream is None else self._stream.sequence

    async def take(self, message: PlacedMessage) -> None:
        if self._stream is not None:
            await self._stream.add(message)

    def outlook(self) -> RoadOutlook | None:
        """Return the speeds as of the newest window, None before the first of this life."""
        return self._stream.judgement.outlook if self._stream else None


@dataclass
class NetworkStream:
    """The topic ``network`` while it is assigned to this worker."""

    topic: str
    assembly: NetworkAssembly
    judgement: NetworkJudgement
    sequence: RecordSequence
    state: TaskState
    executor: Executor
    gauges: NetworkGauges
    assigned: bool = True
    """False once revoked: nothing of this object may be published any more."""

    async def add(self, message: PlacedMessage) -> None:
        """Take in a record, and work off the windows that are complete with it."""
        try:
            frame = decode(message.value)
        except CorruptFrame as error:
            log.warning("skipping offset %d of the topic network: %s", message.offset, error)
            self._count(message, corrupt=True)
            return
        self._count(message)
        windows = self.assembly.add(frame, message.offset)
        self.gauges.network_missed = self.assembly.missed
        if windows and self.assigned:
            await self._work_off(windows)

    def _count(self, message: PlacedMessage, *, corrupt: bool = False) -> None:
        number = received(self.topic, 0, message.headers or (), corrupt=corrupt)
        self.state.count(self.topic, message.offset, number)

    async def _work_off(self, windows: list[NetworkWindow]) -> None:
        progress = self.assembly.progress
        records = [record for window in windows for record in await self._judge(window)]
        exact, learned = await self._run(self.judgement.dump)
        items: dict[str, bytes | None] = {_PROGRESS: msgspec.msgpack.encode(progress)}
        items |= {_EXACT + name: item for name, item in exact.items()}
        items |= {_LEARNED + name: item for name, item in learned.items()}
        topic_id = self.state.inputs[self.topic].topic_id
        newest_ms = self.sequence.newest_ms
        read = Input(progress.resume_at, self.assembly.next_offset, topic_id, newest_ms)
        await self.state.commit(records, items, {self.topic: read})
        if self.assigned:
            self.gauges.network_windows += len(windows)
            self.gauges.incident_versions += sum(r.topic == "incidents" for r in records)
            self.gauges.forecasts_published += sum(r.topic == "forecasts" for r in records)
            self.gauges.open_incidents = self.judgement.open_incidents

    async def _judge(self, window: NetworkWindow) -> list[Record]:
        return await self._run(partial(self.judgement.step, window, now_ms()))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)


def _under(prefix: str, items: Mapping[str, bytes]) -> dict[str, bytes]:
    return {k.removeprefix(prefix): v for k, v in items.items() if k.startswith(prefix)}
