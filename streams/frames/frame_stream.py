"""The life of one kind's frames in one partition: into windows, out as results, then accounted for.

Closings and late readings wait in one queue, in the order in which they came about; whoever works
it off publishes them, what the watch remembers and how far the frames were read in one transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import msgspec

from civicstream import frames
from civicstream.clock import now_ms
from civicstream.frames import Frame, FrameHeaders
from civicstream.kafka.sequences import Received, Stream
from civicstream.kinds import Kind
from streams.frames.results import Calculation, WindowResult, network_records
from streams.frames.sensor_state import SensorState
from streams.runtime.offset_gate import PendingOffsets
from streams.runtime.records import Record
from streams.runtime.state_items import dump, load
from streams.runtime.task import BackgroundWork, Failed
from streams.runtime.task_state import TaskState
from streams.windows.windows import LateReadings, PartitionWindows, Progress, Window, WindowClose

__all__ = ["FrameGauges", "FrameStream", "recorded_progress"]

T = TypeVar("T")

# Work of one partition that may wait before reading pauses: bounds memory when the calculation or
# Kafka is slower than the frames, and when an outage's backlog is late through and through.
_MAX_CLOSINGS = 4
_MAX_LATE_BYTES = 8 * 1024 * 1024

# Late readings alone are worth a transaction when the first of them has waited for this long, or
# when they are so many.
_LATE_AFTER_MS = 1_000
_LATE_BYTES = 1024 * 1024


@dataclass
class FrameGauges:
    """Figures of this process for the status view."""

    frames: int = 0
    corrupt_frames: int = 0
    computations: int = 0
    """How often readings led to something confirmed: results, provisional or final, or marks that
    they were late. It stands still when nothing fresh is computed."""
    windows_closed: int = 0
    results_published: int = 0
    provisional_published: int = 0
    provisional_cpu_s: float = 0.0
    """Spent on calculating them."""
    unplaced_readings: int = 0


def recorded_progress(
    state: TaskState, items: Mapping[str, bytes], kind: str, topic: str
) -> Progress:
    """Return the durable progress of a kind in a partition of frames."""
    key = f"{kind}/progress"
    progress = load("frames", key, items[key], Progress) if key in items else Progress()
    read = state.inputs[topic]
    # Of the offsets what was held against Kafka's log counts.
    return msgspec.structs.replace(progress, next_offset=read.next_offset, resume_at=read.resume_at)


@dataclass(frozen=True)
class _Late:
    """Readings of one frame that came after their window was closed."""

    record: Record
    next_offset: int
    """After the frame."""
    late: int
    """Late readings so far, these among them."""
    since: int


@dataclass
class FrameStream:
    """One kind's frames in one partition while it is assigned to this worker."""

    kind: Kind
    topic: str
    windows: PartitionWindows
    calculation: Calculation
    sensors: SensorState | None
    """State of the watch in ``calculation``."""
    feeds_network: bool
    """Whether each closing goes to the topic ``network``."""
    state: TaskState
    executor: Executor
    gauges: FrameGauges
    failed: Failed
    _pending: PendingOffsets = field(default_factory=PendingOffsets)
    _waiting: list[WindowClose | _Late] = field(default_factory=list)
    _closings: int = 0
    _late_bytes: int = 0
    _late_seen: list[LateReadings] = field(default_factory=list)
    """For the watch: those that came since the last final window."""
    _version: int = 0

    def __post_init__(self) -> None:
        self._publishing = BackgroundWork(self._work, self.failed)

    def count(self, offset: int, headers: FrameHeaders, *, corrupt: bool = False) -> None:
        """Note the frame's number for the ledger."""
        stream = Stream(headers.gateway, headers.epoch, self.topic, self.state.partition)
        record = Received(stream, headers.seq, headers.count, corrupt)
        self.state.count(self.topic, offset, record)

    def add(self, offset: int, frame: Frame, headers: FrameHeaders) -> None:
        """Take in a frame; what it closes is published in the background."""
        self.count(offset, headers)
        added = self.windows.add(frame, headers.ingested_at, offset)
        if added.waits_until:
            self._pending.hold(offset, added.waits_until)
        if added.late is not None:
            self._late_seen.append(LateReadings.of(added.late, headers.ingested_at))
            record = self._late_record(added.late, headers)
            self._late_bytes += len(record.value)
            late = self.windows.late_readings
            self._waiting.append(_Late(record, offset + 1, late, now_ms()))
        self.advance()

    def _late_record(self, late: Frame, headers: FrameHeaders) -> Record:
        found = FrameHeaders(
            headers.gateway, headers.epoch, headers.seq, len(late), headers.ingested_at
        ).to_kafka()
        closed_until = self.windows.closed_until
        found += [("kind", self.kind.name.encode()), ("closed_until", b"%d" % closed_until)]
        return Record("late", "", frames.encode(late), found, self.state.partition)

    def advance(self) -> None:
        """Do what time alone makes due; to be called several times a second."""
        closing = self.windows.due()
        if closing is not None:
            self._waiting.append(closing)
            self._closings += 1
        if self._is_due():
            self._publishing.start()

    def _is_due(self) -> bool:
        if self._closings:
            return True
        first = self._waiting[0] if self._waiting else None
        if not isinstance(first, _Late):
            return False
        return self._late_bytes >= _LATE_BYTES or now_ms() - first.since >= _LATE_AFTER_MS

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be published that no more frames should be read."""
        return self._closings > _MAX_CLOSINGS or self._late_bytes > _MAX_LATE_BYTES

    def revoke(self) -> None:
        """Forget everything: the partition's next owner reads the frames again."""
        self._publishing.cancel()

    async def _work(self) -> None:
        """Publish what waits until nothing is due: under load more gathers meanwhile."""
        while self.state.assigned and self._is_due():
            work, self._waiting = self._waiting, []
            self._closings = self._late_bytes = 0
            await self._publish(work)

    async def _publish(self, work: list[WindowClose | _Late]) -> None:
        """Publish results and late readings in one transaction with the state after them."""
        before = progress = self.windows.progress
        results: list[WindowResult] = []
        late: list[Record] = []
        for item in work:
            if isinstance(item, _Late):
                late.append(item.record)
                progress = msgspec.structs.replace(
                    progress, next_offset=item.next_offset, late=item.late
                )
            else:
                finals = [await self._final(window) for window in item.windows]
                progress = item.progress(progress, sum(len(r.readings) for r in finals))
                results += finals
        records = [record for result in results for record in result.records]
        if self.feeds_network and progress.closed_until > before.closed_until:
            records += network_records(
                self.state.partition,
                before.closed_until,
                progress.closed_until,
                results,
                now_ms(),
            )
        needed = self._pending.release(progress.closed_until)
        resume_at = progress.next_offset if needed is None else min(needed, progress.next_offset)
        progress = msgspec.structs.replace(progress, resume_at=resume_at)
        await self._commit([*records, *late], progress, remember=bool(results))
        if self.state.assigned:
            self.gauges.computations += 1
            self.gauges.results_published += len(records)
            self.gauges.unplaced_readings += sum(r.unplaced_readings for r in results)
            closings = [item for item in work if isinstance(item, WindowClose)]
            self.gauges.windows_closed += sum(len(closing.windows) for closing in closings)
            self.windows.confirmed(closings, progress)

    async def _commit(self, records: list[Record], progress: Progress, *, remember: bool) -> None:
        items: dict[str, bytes | None] = {f"{self.kind.name}/progress": dump(progress)}
        if self.sensors is not None and remember:
            items |= await self.sensors.take()
        read = self.state.read_to(self.topic, progress.resume_at, progress.next_offset)
        await self.state.commit(records, items, read)

    async def _final(self, window: Window) -> WindowResult:
        late, self._late_seen = self._late_seen, []
        return await self._run(partial(self.calculation.final, window, late, now_ms()))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)

    async def provisional(self) -> list[tuple[int, list[Record]]]:
        """Return the results of open windows whose areas changed since the last time, by window
        end; those of windows that are closed meanwhile are not to be published any more.
        """
        found = []
        for window in self.windows.open_windows:
            changed, window.changed_areas = window.changed_areas, set()
            if not changed:
                continue
            self._version += 1
            provisional = self.calculation.provisional
            work = partial(provisional, window, changed, self._version, now_ms())
            result, spent_s = await self._run(partial(_timed, work))
            self.gauges.provisional_cpu_s += spent_s
            if self.state.assigned and window.end > self.windows.closed_until:
                window.compact(result.chunks, result.readings)
                found.append((window.end, result.records))
        return found


def _timed(work: Callable[[], WindowResult]) -> tuple[WindowResult, float]:
    """Return what ``work`` does and the CPU seconds it took this thread."""
    began = time.thread_time()
    result = work()
    return result, time.thread_time() - began
