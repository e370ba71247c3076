"""The life of the city's traffic windows: assembled, judged, published, recorded, acknowledged.

The same order as for frames of readings: what follows from a window is confirmed by Kafka, then
the state after it, then the records that made it are acked. A crash in between makes the same
again, with the same ids and versions.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import faust
import msgspec

from civicstream.clock import now_ms
from civicstream.errors import CivicStreamError, CorruptFrame
from civicstream.partitioning import partition_of
from civicstream.settings import Settings
from civicstream.topics import topic_name
from streams.acknowledgements import HeldFrames
from streams.durable_table import DurableTable
from streams.network import NetworkWindow, RoadNetwork
from streams.network_assembly import AssemblyProgress, NetworkAssembly
from streams.network_frames import decode
from streams.network_judgement import NetworkJudgement, RoadOutlook
from streams.publication import Publication
from streams.results import Record
from streams.sequence import FrameSequence, Turn
from streams.snapshots import Snapshots

__all__ = ["NetworkAgent", "NetworkGauges"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_PARTITION = 0
_PROGRESS = "network/progress"


@dataclass
class NetworkGauges:
    """Figures of this process for the status view."""

    network_windows: int = 0
    network_missed: int = 0
    incident_versions: int = 0
    open_incidents: int = 0
    forecasts_published: int = 0


class NetworkAgent:
    """Reads the topic ``network`` while this worker has it."""

    def __init__(
        self,
        settings: Settings,
        network: RoadNetwork,
        publication: Publication,
        table: DurableTable,
        executor: Executor,
    ) -> None:
        self.gauges = NetworkGauges()
        self.topic = topic_name(settings.kafka.topic_prefix, "network")
        self._settings = settings
        self._network = network
        self._publication = publication
        self._table = table
        self._executor = executor
        partitions = settings.kafka.partitions
        self._partitions = {partition_of(area, partitions) for area in network.areas}
        self._stream: NetworkStream | None = None

    async def read(self, app: faust.App, stream: faust.StreamT) -> None:
        """Work off the records of ``stream`` for as long as it lasts."""
        async for event in stream.noack().events():
            state = self._stream or self._begin()
            turn = state.sequence.turn(event.message.offset, time.monotonic())
            if turn in {Turn.NEXT, Turn.AFTER_GAP}:
                if turn is Turn.AFTER_GAP:
                    log.error(
                        "records before offset %d of the topic network are gone from Kafka",
                        event.message.offset,
                    )
                await state.add(event)
            elif turn is Turn.ACCOUNTED:
                state.skip(event)
            elif turn is Turn.SEEK:
                await app.consumer.seek(event.message.tp, state.sequence.expected)

    def _begin(self) -> NetworkStream:
        stored = self._table.read(_PROGRESS)
        progress = msgspec.convert(stored, AssemblyProgress) if stored else AssemblyProgress()
        window_ms = self._settings.windows.size_s * 1000
        snapshots = Snapshots(self._table, _PARTITION, "judgement")
        self._stream = NetworkStream(
            assembly=NetworkAssembly(self._network, window_ms, self._partitions, progress),
            judgement=self._restored(snapshots, progress.assembled_until),
            sequence=FrameSequence(progress.resume_at),
            publication=self._publication,
            table=self._table,
            snapshots=snapshots,
            executor=self._executor,
            gauges=self.gauges,
        )
        return self._stream

    def _restored(self, snapshots: Snapshots, as_of: int) -> NetworkJudgement:
        """Return the judgement with the state that the last owner of the topic left."""
        settings = self._settings

        def young() -> NetworkJudgement:
            return NetworkJudgement(self._network, settings.intelligence, settings.windows.size_s)

        judgement = young()
        try:
            judgement.restore(snapshots.read_fast(not_after=as_of), snapshots.read_slow())
        except (CivicStreamError, ValueError) as error:
            log.warning("incidents and forecasts begin anew, their state does not fit: %s", error)
            return young()
        return judgement

    def sequences(self) -> list[tuple[faust.types.TP, FrameSequence]]:
        """Return what must come next on each partition that this worker has."""
        if self._stream is None:
            return []
        return [(faust.types.TP(self.topic, _PARTITION), self._stream.sequence)]

    def outlook(self) -> RoadOutlook | None:
        """Return the speeds as of the newest window, None before the first of this life."""
        return self._stream.judgement.outlook if self._stream else None

    def revoke(self) -> None:
        """Forget everything: the next owner reads the unacked records again."""
        if self._stream is not None:
            self._stream.assigned = False
            self._stream = None
            self.gauges.open_incidents = 0


@dataclass
class NetworkStream:
    """The topic ``network`` while it is assigned to this worker."""

    assembly: NetworkAssembly
    judgement: NetworkJudgement
    sequence: FrameSequence
    publication: Publication
    table: DurableTable
    snapshots: Snapshots
    executor: Executor
    gauges: NetworkGauges
    assigned: bool = True
    """False once revoked: nothing of this object may be published or acked any more."""
    _held: HeldFrames[faust.EventT] = field(default_factory=HeldFrames)

    def skip(self, event: faust.EventT) -> None:
        """Ack in its turn a record that needs nothing more."""
        self._held.hold(event, event.message.offset, 0)
        self._ack(0)

    async def add(self, event: faust.EventT) -> None:
        """Take in a record, and work off the windows that are complete with it."""
        offset = event.message.offset
        try:
            frame = decode(event.value)
        except CorruptFrame as error:
            log.warning("skipping offset %d of the topic network: %s", offset, error)
            self.skip(event)
            return
        self._held.hold(event, offset, offset + 1)
        windows = self.assembly.add(frame, offset)
        self.gauges.network_missed = self.assembly.missed
        if windows and self.assigned:
            await self._work_off(windows)

    async def _work_off(self, windows: list[NetworkWindow]) -> None:
        progress = self.assembly.progress
        records = [record for window in windows for record in await self._judge(window)]
        await self._persist(partial(self.publication.send_results, records), "its results")
        fast, slow = await self._run(self.judgement.dump)
        record = partial(self._record, windows[-1].end, fast, slow, progress)
        await self._persist(record, "its state")
        if self.assigned:
            self.gauges.network_windows += len(windows)
            self.gauges.incident_versions += sum(r.topic == "incidents" for r in records)
            self.gauges.forecasts_published += sum(r.topic == "forecasts" for r in records)
            self.gauges.open_incidents = self.judgement.open_incidents
            self._ack(progress.resume_at)

    async def _judge(self, window: NetworkWindow) -> list[Record]:
        return await self._run(partial(self.judgement.step, window, now_ms()))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)

    async def _record(
        self, as_of: int, fast: dict[str, bytes], slow: dict[str, bytes], progress: AssemblyProgress
    ) -> None:
        for name, learned in slow.items():
            await self.snapshots.write_slow(as_of, name, learned)
        await self.snapshots.write_fast(as_of, fast)
        await self.table.write(_PARTITION, _PROGRESS, as_of, msgspec.to_builtins(progress))

    async def _persist(self, attempt: Callable[[], Awaitable[None]], what: str) -> None:
        await self.publication.until_confirmed(
            attempt, f"network: publishing {what}", lambda: self.assigned
        )

    def _ack(self, resume_at: int) -> None:
        if self.assigned:
            for event in self._held.release(resume_at):
                event.ack()
