"""Windows of the whole city out of what its partitions publish one after another; pure.

Everything here follows from the records and their order, never from a clock: read again after a
crash, they make the same windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.runtime.offset_gate import PendingOffsets
from streams.windows.network import MEASURES, NetworkWindow, RoadNetwork
from streams.windows.network_frames import NetworkFrame

__all__ = ["AssemblyProgress", "NetworkAssembly", "Source"]

# Every partition that a worker has reports its closings at least once a window. One that has
# reported nothing for this time is not waited for: its worker is away, or it has no traffic.
_WAIT_MS = 60_000
_WAIT_WINDOWS = 3

# Windows kept for partitions that are behind, as after an outage, when one partition may be read
# far ahead of another: an hour's in any case, and more while they take less memory than this.
_MOST_WAITING = 60
_MOST_BYTES = 256 * 1024 * 1024


class Source(msgspec.Struct, frozen=True):
    """How far a partition is, and when it said so."""

    closed_until: int
    reported_at: int


class AssemblyProgress(msgspec.Struct, frozen=True):
    """What outlives a crash."""

    assembled_until: int = 0
    """Windows that end at or before it were handed out [ms]."""
    resume_at: int = 0
    """Offset of the first record that a new life needs."""
    sources: dict[str, Source] = {}
    """By partition."""


@dataclass
class _Filling:
    start: int
    columns: dict[str, NDArray[np.float64]]


class NetworkAssembly:
    """Puts the partitions' windows together; hands each out once all that report have closed it.

    ``partitions`` are those that the city model's roads are in: they are waited for from the
    beginning, others from their first record on. ``speed`` is how fast the city's time goes, by
    which the records are dated.
    """

    def __init__(
        self,
        network: RoadNetwork,
        window_ms: int,
        partitions: Iterable[int],
        progress: AssemblyProgress | None = None,
        speed: float = 1.0,
    ) -> None:
        progress = progress or AssemblyProgress()
        self._network = network
        self._window_ms = window_ms
        self._wait_ms = max(round(_WAIT_MS * speed), _WAIT_WINDOWS * window_ms)
        self._expected = set(partitions)
        self._index = network.city.segment_index
        self._sources = {int(partition): source for partition, source in progress.sources.items()}
        self._assembled_until = progress.assembled_until
        self._next_offset = progress.resume_at
        self._filling: dict[int, _Filling] = {}
        self._pending = PendingOffsets()
        """First records with something of a window."""
        window_bytes = 8 * len(MEASURES) * max(len(network), 1)
        self._most_waiting = max(_MOST_WAITING, _MOST_BYTES // window_bytes)
        self.missed = 0
        """Segment windows that came after their window had been handed out without them."""

    def add(self, frame: NetworkFrame, offset: int) -> list[NetworkWindow]:
        """Take in a record; return the windows that are complete with it, oldest first."""
        self._next_offset = offset + 1
        codes = np.array([self._index.get(name, -1) for name in frame.segments] or [-1], np.intp)
        segment = codes[frame.segment]
        for start in np.unique(frame.window_start).tolist():
            chosen = (frame.window_start == start) & (segment >= 0)
            if start + self._window_ms <= self._assembled_until:
                self.missed += int(chosen.sum())
            else:
                filling = self._window(start, offset)
                for name in MEASURES:
                    filling.columns[name][segment[chosen]] = frame.measures[name][chosen]
        self._note_report(frame)
        return self._complete(frame.published_at)

    def _window(self, start: int, offset: int) -> _Filling:
        filling = self._filling.get(start)
        if filling is None:
            n = len(self._network)
            columns = {name: np.full(n, np.nan) for name in MEASURES}
            columns["coverage"] = np.zeros(n)
            filling = self._filling[start] = _Filling(start, columns)
            self._pending.hold(offset, start + self._window_ms)
        return filling

    def _note_report(self, frame: NetworkFrame) -> None:
        if not self._sources:
            self._sources = {p: Source(0, frame.published_at) for p in self._expected}
        before = self._sources.get(frame.partition, Source(0, 0))
        self._sources[frame.partition] = Source(
            max(before.closed_until, frame.closed_until),
            max(before.reported_at, frame.published_at),
        )

    def _complete(self, now_ms: int) -> list[NetworkWindow]:
        oldest_ms = now_ms - self._wait_ms
        present = [s for s in self._sources.values() if s.reported_at >= oldest_ms]
        until = min(source.closed_until for source in present)
        waiting = sorted(self._filling)
        if len(waiting) > self._most_waiting:
            until = max(until, waiting[-self._most_waiting])
        self._assembled_until = max(self._assembled_until, until)
        ready = [s for s in waiting if s + self._window_ms <= self._assembled_until]
        return [
            NetworkWindow(start, start + self._window_ms, **self._filling.pop(start).columns)
            for start in ready
        ]

    @property
    def next_offset(self) -> int:
        """Offset after the last record taken in."""
        return self._next_offset

    @property
    def progress(self) -> AssemblyProgress:
        """What holds once all windows handed out so far are worked off."""
        needed = self._pending.release(self._assembled_until)
        resume_at = self._next_offset if needed is None else needed
        sources = {str(partition): source for partition, source in self._sources.items()}
        return AssemblyProgress(self._assembled_until, resume_at, sources)
