"""The task ``network``: the city's traffic windows assembled, judged, published and remembered.

What follows from a window, the state after it and the records that made it are one transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec

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
from streams.runtime.state_items import dump, load, under
from streams.runtime.task import Failed
from streams.runtime.task_state import TaskState
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
    """Reads the topic ``network``, which has one partition."""

    name = "network"

    def __init__(self, settings: Settings, network: RoadNetwork, executor: Executor) -> None:
        self.gauges = NetworkGauges()
        self.topics = [topic_name(settings.kafka.topic_prefix, "network")]
        self.partitions: dict[int, NetworkPartition] = {}
        self._settings = settings
        self._network = network
        self._executor = executor
        partitions = settings.kafka.partitions
        self._reporting = {partition_of(area, partitions) for area in network.areas}

    def on_assigned(
        self, state: TaskState, items: Mapping[str, bytes], _failed: Failed
    ) -> NetworkPartition:
        (topic,) = self.topics
        stored = items.get(_PROGRESS)
        progress = AssemblyProgress()
        if stored:
            progress = load("network", _PROGRESS, stored, AssemblyProgress)
        progress = msgspec.structs.replace(progress, resume_at=state.inputs[topic].resume_at)
        window_ms = self._settings.windows.size_s * 1000
        return NetworkPartition(
            topic=topic,
            assembly=NetworkAssembly(
                self._network, window_ms, self._reporting, progress, city_clock().speed
            ),
            judgement=self._restored(items),
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
            judgement.restore(under(_EXACT, items), under(_LEARNED, items))
        except (CivicStreamError, ValueError) as error:
            log.warning("incidents and forecasts begin anew, their state does not fit: %s", error)
            return young()
        return judgement

    def outlook(self) -> RoadOutlook | None:
        """Return the speeds as of the newest window, None before the first of this life."""
        for partition in self.partitions.values():
            return partition.judgement.outlook
        return None


@dataclass
class NetworkPartition:
    """The topic ``network`` while it is assigned to this worker.

    Windows are worked off while the next record waits: there is one record for each closing of a
    partition, some in a second.
    """

    topic: str
    assembly: NetworkAssembly
    judgement: NetworkJudgement
    state: TaskState
    executor: Executor
    gauges: NetworkGauges

    is_full = False

    async def on_record(self, message: PlacedMessage) -> None:
        try:
            frame = decode(message.value)
        except CorruptFrame as error:
            log.warning("skipping offset %d of the topic network: %s", message.offset, error)
            self._count(message, corrupt=True)
            return
        self._count(message)
        windows = self.assembly.add(frame, message.offset)
        self.gauges.network_missed = self.assembly.missed
        if windows and self.state.assigned:
            await self._work_off(windows)

    def on_tick(self, _silent_ms: Mapping[str, int]) -> None:
        """Do nothing: everything here follows from the records."""

    def on_revoked(self) -> None:
        self.gauges.open_incidents = 0

    def _count(self, message: PlacedMessage, *, corrupt: bool = False) -> None:
        number = received(self.topic, 0, message.headers or (), corrupt=corrupt)
        self.state.count(self.topic, message.offset, number)

    async def _work_off(self, windows: list[NetworkWindow]) -> None:
        progress = self.assembly.progress
        records = [record for window in windows for record in await self._judge(window)]
        exact, learned = await self._run(self.judgement.dump)
        items: dict[str, bytes | None] = {_PROGRESS: dump(progress)}
        items |= {_EXACT + name: item for name, item in exact.items()}
        items |= {_LEARNED + name: item for name, item in learned.items()}
        read = self.state.read_to(self.topic, progress.resume_at, self.assembly.next_offset)
        await self.state.commit(records, items, read)
        if self.state.assigned:
            self.gauges.network_windows += len(windows)
            self.gauges.incident_versions += sum(r.topic == "incidents" for r in records)
            self.gauges.forecasts_published += sum(r.topic == "forecasts" for r in records)
            self.gauges.open_incidents = self.judgement.open_incidents

    async def _judge(self, window: NetworkWindow) -> list[Record]:
        return await self._run(partial(self.judgement.step, window, now_ms()))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)
