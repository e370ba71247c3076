"""The life of one partition's frames: into windows, out as results, then acknowledged.

The order that keeps the promise: results confirmed, then progress confirmed, then frames acked.
A crash before the progress is written publishes the same results again (same ids); a crash
after it reads the frames again and finds them accounted for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import faust
import msgspec

from civicstream import frames
from civicstream.clock import now_ms
from civicstream.frames import Frame, FrameHeaders
from civicstream.kinds import Kind
from streams.acknowledgements import HeldFrames
from streams.durable_table import DurableTable
from streams.publication import Publication
from streams.results import Calculation, Record, WindowResult, network_record
from streams.sensor_state import SensorSnapshot, SensorState
from streams.sequence import FrameSequence
from streams.windows import Closing, LateReadings, PartitionWindows, Progress, Window

__all__ = ["Gauges", "PartitionStream", "recorded_progress"]

log = logging.getLogger(__name__)


@dataclass
class Gauges:
    """Figures of this process for the status view."""

    frames: int = 0
    corrupt_frames: int = 0
    repeated_frames: int = 0
    seeks: int = 0
    """How often frames were missing and fetched again; both happen around rebalances."""
    windows_closed: int = 0
    results_published: int = 0
    provisional_published: int = 0
    unplaced_readings: int = 0


def _progress_key(topic: str, partition: int) -> str:
    return f"{topic}/{partition}/progress"


def recorded_progress(table: DurableTable, topic: str, partition: int) -> Progress:
    """Return the durable progress of a partition of frames."""
    stored = table.read(_progress_key(topic, partition))
    return msgspec.convert(stored, Progress) if stored else Progress()


@dataclass
class PartitionStream:
    """One partition of one kind while it is assigned to this worker."""

    kind: Kind
    topic: str
    partition: int
    windows: PartitionWindows
    calculation: Calculation
    sensors: SensorState | None
    """State of the watch in ``calculation``."""
    feeds_network: bool
    """Whether each closing is told to the topic ``network``."""
    table: DurableTable
    publication: Publication
    executor: Executor
    gauges: Gauges
    sequence: FrameSequence
    on_failure: Callable[[BaseException], None]
    """Called with an error that retrying cannot mend: the process must not go on past it."""
    assigned: bool = True
    """False once revoked: nothing of this object may be published or acked any more."""
    _held: HeldFrames[faust.EventT] = field(default_factory=HeldFrames)
    _waiting: list[Closing] = field(default_factory=list)
    _publishing: bool = False
    """Whether the one task that publishes closings is at work."""
    _closing: set[asyncio.Task[None]] = field(default_factory=set)
    _provisional: set[asyncio.Task[None]] = field(default_factory=set)
    _late_tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _late_seen: list[LateReadings] = field(default_factory=list)
    """For the watch: those that came since the last final window."""
    _version: int = 0

    def add(self, event: faust.EventT, frame: Frame, headers: FrameHeaders) -> None:
        """Take in a frame; what it closes is published in the background."""
        offset = event.message.offset
        added = self.windows.add(frame, headers.ingested_at, offset)
        late_pending = added.late is not None
        held = self._held.hold(event, offset, added.waits_until, late_pending=late_pending)
        if added.late is not None:
            self._late_seen.append(LateReadings.of(added.late, headers.ingested_at))
            late = self._send_late(added.late, headers, self.windows.closed_until)

            async def confirm() -> None:
                await late
                self._held.late_confirmed(held)
                self._ack()

            self._spawn(confirm(), self._late_tasks)
        elif added.waits_until == 0:
            self._ack()
        self._close_due()

    def skip(self, event: faust.EventT) -> None:
        """Ack in its turn a record that needs nothing more."""
        self._held.hold(event, event.message.offset, 0)
        self._ack()

    def advance(self) -> None:
        """Do what time alone makes due; to be called several times a second."""
        self._close_due()
        self._ack()

    def _close_due(self) -> None:
        """Publish the windows whose lateness has run out."""
        closing = self.windows.due()
        if closing is not None:
            self._waiting.append(closing)
            if not self._publishing:
                self._publishing = True
                self._spawn(self._close_waiting(), self._closing)

    @property
    def waiting_closings(self) -> int:
        """How many closings wait for the one under way."""
        return len(self._waiting)

    def revoke(self) -> None:
        """Forget everything: the partition's next owner reads the unacked frames again."""
        self.assigned = False
        for task in self._closing | self._late_tasks | self._provisional:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                self.on_failure(error)

        task.add_done_callback(done)

    async def _send_late(self, late: Frame, headers: FrameHeaders, closed_until: int) -> None:
        found = FrameHeaders(
            headers.gateway, headers.epoch, headers.seq, len(late), headers.ingested_at
        ).to_kafka()
        found += [("kind", self.kind.name.encode()), ("closed_until", b"%d" % closed_until)]
        value = frames.encode(late)
        send = partial(self.publication.send, "late", None, value, self.partition, found)
        await self._persist(send, f"{len(late)} late readings")

    async def _persist(self, attempt: Callable[[], Awaitable[None]], what: str) -> None:
        place = f"{self.topic}/{self.partition}: publishing {what}"
        await self.publication.until_confirmed(attempt, place, lambda: self.assigned)

    async def _close_waiting(self) -> None:
        """Publish what waits until nothing does: under load closings gather meanwhile."""
        try:
            while self._waiting and self.assigned:
                closings, self._waiting = self._waiting, []
                await self._close(closings)
        finally:
            self._publishing = False

    async def _close(self, closings: list[Closing]) -> None:
        """Publish the windows of ``closings``; then state and progress; then ack their frames."""
        progress, results = self.windows.progress, []
        for closing in closings:
            finals = [await self._final(window) for window in closing.windows]
            progress = closing.progress(progress, sum(len(r.readings) for r in finals))
            results += finals
        records = [record for result in results for record in result.records]
        if self.feeds_network:
            records.append(network_record(self.partition, progress.closed_until, results, now_ms()))
        send = partial(self.publication.send_results, records)
        await self._persist(send, f"{len(records)} results")
        # Readings reported late before this closing count as accounted for after it.
        if self._late_tasks:
            await asyncio.gather(*self._late_tasks)
        unfinished = self._held.first_unfinished(progress.closed_until)
        if unfinished is not None:
            progress = msgspec.structs.replace(
                progress, resume_at=min(unfinished, progress.next_offset)
            )
        state = await self.sensors.take() if self.sensors else None
        await self._persist(partial(self._record, progress, state), "progress")
        if self.assigned:
            self.gauges.results_published += len(records)
            self.gauges.unplaced_readings += sum(r.unplaced_readings for r in results)
            for closing in closings:
                self.gauges.windows_closed += len(closing.windows)
                self.windows.confirmed(closing, progress)
            self._ack()

    async def _record(self, progress: Progress, state: SensorSnapshot | None) -> None:
        """Write what outlives this process: the sensors' state, then the progress it belongs to."""
        if self.sensors is not None and state is not None:
            await self.sensors.write(progress.closed_until, state)
        key = _progress_key(self.topic, self.partition)
        value = msgspec.to_builtins(progress)
        await self.table.write(self.partition, key, progress.next_offset, value)

    def _ack(self) -> None:
        if self.assigned:
            for event in self._held.release(self.windows.progress.closed_until):
                event.ack()

    async def _final(self, window: Window) -> WindowResult:
        late, self._late_seen = self._late_seen, []
        return await self._run(partial(self.calculation.final, window, late, now_ms()))

    async def _run(self, work: Callable[[], WindowResult]) -> WindowResult:
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)

    async def publish_provisional(self) -> None:
        """Publish the state of open windows whose areas changed since the last time.

        Returns when all is calculated; confirmations are not waited for, the next round
        supersedes what was lost.
        """
        for window in self.windows.open_windows:
            changed, window.changed_areas = window.changed_areas, set()
            if not changed:
                continue
            self._version += 1
            provisional = self.calculation.provisional
            result = await self._run(partial(provisional, window, changed, self._version, now_ms()))
            if not self.assigned or window.end <= self.windows.closed_until:
                continue  # the final result is on its way; nothing may follow it
            window.compact(result.chunks, result.readings)
            self._spawn(self._send_provisional(result.records), self._provisional)

    async def _send_provisional(self, records: list[Record]) -> None:
        try:
            await self.publication.send_results(records)
        except Exception as error:
            log.warning("%d provisional results were not published: %r", len(records), error)
        else:
            self.gauges.provisional_published += len(records)
