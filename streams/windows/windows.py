"""Event-time tumbling windows over one partition's frames; no clock, no I/O.

A window keeps the columns of its readings; its result is a function of that set. WindowClose is
decided by a watermark: the largest event time seen minus the out-of-orderness bound. The state
that outlives a crash is ``Progress``, written once per closing:

- ``closed_until``: windows that end at or before it are published and never change again;
- ``next_offset``: at that closing, every frame below it had been read. So when frames are read
  again after a crash, a reading of a closed window is already accounted for if its frame is
  below ``next_offset`` (it was in the published set, or reported late), and late otherwise;
- ``resume_at``: the first frame that a new life needs; all before it are done with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from civicstream.events import Counts
from civicstream.frames import Dictionary, Frame
from civicstream.settings import WindowSettings
from streams.windows.deduplicate import kept_readings

__all__ = [
    "Added",
    "Columns",
    "LateReadings",
    "PartitionWindows",
    "Progress",
    "Window",
    "WindowClose",
    "WindowConfig",
]


@dataclass(frozen=True)
class WindowConfig:
    """The settings of the windows in milliseconds."""

    size_ms: int
    lateness_ms: int
    out_of_orderness_ms: int
    idle_ms: int

    @classmethod
    def from_settings(cls, settings: WindowSettings) -> WindowConfig:
        return cls(
            size_ms=settings.size_s * 1000,
            lateness_ms=round(settings.lateness_s * 1000),
            out_of_orderness_ms=round(settings.out_of_orderness_s * 1000),
            idle_ms=round(settings.idle_s * 1000),
        )


class Progress(msgspec.Struct, frozen=True):
    """What is known for good about a partition; the counts are of readings."""

    closed_until: int = 0
    next_offset: int = 0
    resume_at: int = 0
    accepted: int = 0
    duplicate: int = 0
    late: int = 0


@dataclass(frozen=True)
class Columns:
    """Readings in columns of equal length; ``area`` are codes into ``PartitionWindows.areas``."""

    sensor_key: NDArray[np.int64]
    ts: NDArray[np.int64]
    area: NDArray[np.int32]
    ingested_at: NDArray[np.int64]
    measures: dict[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Columns:
        return Columns(
            self.sensor_key[index],
            self.ts[index],
            self.area[index],
            self.ingested_at[index],
            {name: values[index] for name, values in self.measures.items()},
        )

    @staticmethod
    def joined(parts: list[Columns]) -> Columns:
        if len(parts) == 1:
            return parts[0]
        return Columns(
            np.concatenate([p.sensor_key for p in parts]),
            np.concatenate([p.ts for p in parts]),
            np.concatenate([p.area for p in parts]),
            np.concatenate([p.ingested_at for p in parts]),
            {name: np.concatenate([p.measures[name] for p in parts]) for name in parts[0].measures},
        )

    def deduplicated(self) -> Columns:
        """Return one reading per (sensor, ts), the one ingested last."""
        keep = kept_readings(self.sensor_key, self.ts, self.ingested_at)
        return self if keep is None else self.take(keep)


@dataclass(frozen=True)
class LateReadings:
    """Readings that came after their window was closed, in columns of equal length."""

    sensor_key: NDArray[np.int64]
    ts: NDArray[np.int64]
    ingested_at: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ts)

    @classmethod
    def of(cls, frame: Frame, ingested_at: int) -> LateReadings:
        return cls(frame.sensor_key, frame.ts, np.full(len(frame), ingested_at, np.int64))

    @classmethod
    def joined(cls, parts: Sequence[LateReadings]) -> LateReadings:
        """Return them as one; empty when there are none."""
        none = np.zeros(0, np.int64)
        return cls(
            np.concatenate([none, *(p.sensor_key for p in parts)]),
            np.concatenate([none, *(p.ts for p in parts)]),
            np.concatenate([none, *(p.ingested_at for p in parts)]),
        )


@dataclass
class Window:
    """An open window; ``chunks`` only grows, so a reader may take a copy of the list."""

    start: int
    end: int
    chunks: list[Columns] = field(default_factory=list)
    readings: int = 0
    """Readings received, duplicates included."""
    changed_areas: set[int] = field(default_factory=set)
    """Areas with readings since the last provisional result."""

    def add(self, columns: Columns) -> None:
        self.chunks.append(columns)
        self.readings += len(columns)
        self.changed_areas |= set(np.unique(columns.area).tolist())

    def compact(self, chunks: int, columns: Columns) -> None:
        """Put ``columns``, the first ``chunks`` chunks deduplicated, in their place."""
        self.chunks[:chunks] = [columns]


@dataclass(frozen=True)
class Added:
    """What became of a frame: late readings, and the window end it waits for (0: none)."""

    late: Frame | None
    waits_until: int


@dataclass(frozen=True)
class WindowClose:
    """Windows to publish, oldest first, and the progress that holds once that is confirmed."""

    windows: list[Window]
    closed_until: int
    next_offset: int
    late: int

    def progress(self, before: Progress, accepted: int) -> Progress:
        """Return the progress after ``accepted`` distinct readings of these were published.

        It resumes at the first frame not read yet; earlier frames that are still needed are not
        known here.
        """
        received = sum(window.readings for window in self.windows)
        return Progress(
            closed_until=self.closed_until,
            next_offset=self.next_offset,
            resume_at=self.next_offset,
            accepted=before.accepted + accepted,
            duplicate=before.duplicate + received - accepted,
            late=self.late,
        )


class PartitionWindows:
    """The open windows of one kind in one partition."""

    def __init__(self, config: WindowConfig, progress: Progress) -> None:
        self.config = config
        self.progress = progress
        """Durable: replaced by the runtime once a closing is confirmed."""
        self.areas: list[str] = []
        self._area_codes: dict[str, int] = {}
        self._open: dict[int, Window] = {}
        self._closed_until = progress.closed_until
        self._accounted_below = progress.next_offset
        self._next_offset = progress.next_offset
        self._late = progress.late
        self._received = progress.accepted + progress.duplicate + progress.late
        self._closing = 0
        self._max_ts: int | None = None
        self._silent_ms = 0

    @property
    def open_windows(self) -> list[Window]:
        return list(self._open.values())

    @property
    def closed_until(self) -> int:
        """End of the newest window that takes no more readings."""
        return self._closed_until

    @property
    def late_readings(self) -> int:
        """How many readings came late so far."""
        return self._late

    @property
    def watermark(self) -> int | None:
        """Event time up to which readings are expected to be complete [ms]; None before any."""
        if self._max_ts is None:
            return None
        silence = self._silent_ms if self._silent_ms >= self.config.idle_ms else 0
        return self._max_ts + silence - self.config.out_of_orderness_ms

    def counts(self) -> Counts:
        """Return the ledger's counts: readings in open or closing windows are in flight."""
        open_readings = sum(window.readings for window in self._open.values())
        return Counts(
            received=self._received,
            accepted=self.progress.accepted,
            duplicate=self.progress.duplicate,
            late=self._late,
            in_flight=open_readings + self._closing,
        )

    def add(self, frame: Frame, ingested_at: int, offset: int) -> Added:
        """Put a frame's readings in their windows; ``offset`` is its Kafka offset."""
        self._silent_ms = 0
        self._next_offset = max(self._next_offset, offset + 1)
        starts = frame.ts - frame.ts % self.config.size_ms
        first, last = int(starts.min()), int(starts.max())
        late = None
        if first < self._closed_until:
            is_late = starts < self._closed_until
            if offset >= self._accounted_below:
                late = _take(frame, is_late)
                self._late += len(late)
                self._received += len(late)
            if last < self._closed_until:
                return Added(late, 0)
            frame, starts = _take(frame, ~is_late), starts[~is_late]
            first = int(starts.min())
        columns = self._columns(frame, ingested_at)
        self._received += len(columns)
        if first == last:
            self._window(first).add(columns)
        else:
            for start in np.unique(starts).tolist():
                self._window(start).add(columns.take(starts == start))
        self._max_ts = max(self._max_ts or 0, int(frame.ts.max()))
        return Added(late, last + self.config.size_ms)

    def _columns(self, frame: Frame, ingested_at: int) -> Columns:
        codes = np.array([self._area_code(area) for area in frame.area.values], np.int32)
        return Columns(
            frame.sensor_key,
            frame.ts,
            codes[frame.area.codes],
            np.broadcast_to(np.int64(ingested_at), frame.ts.shape),
            frame.measures,
        )

    def _area_code(self, area: str) -> int:
        code = self._area_codes.get(area)
        if code is None:
            code = self._area_codes[area] = len(self.areas)
            self.areas.append(area)
        return code

    def _window(self, start: int) -> Window:
        window = self._open.get(start)
        if window is None:
            window = self._open[start] = Window(start, start + self.config.size_ms)
        return window

    def silent_for(self, elapsed_ms: int) -> None:
        """Note that the partition is read to its end and brought nothing for ``elapsed_ms``.

        Once that adds up to the idle time, the watermark goes on with the wall clock, as if the
        sensors had gone on reporting; without it the last windows of a silent partition would
        never close. Not to be called while frames may be waiting unread.
        """
        self._silent_ms += elapsed_ms

    def not_silent(self) -> None:
        """Note that the partition may have unread frames: silence begins again."""
        self._silent_ms = 0

    def due(self) -> WindowClose | None:
        """Return the windows whose lateness has run out, taken out of the open ones."""
        watermark = self.watermark
        if watermark is None:
            return None
        horizon = watermark - self.config.lateness_ms
        boundary = horizon - horizon % self.config.size_ms
        if boundary <= self._closed_until:
            return None
        self._closed_until = boundary
        ready = sorted(start for start in self._open if start < boundary)
        windows = [self._open.pop(start) for start in ready]
        self._closing += sum(window.readings for window in windows)
        return WindowClose(windows, boundary, self._next_offset, self._late)

    def confirmed(self, closings: Sequence[WindowClose], progress: Progress) -> None:
        """Note that closings were published and the progress after them written."""
        for close in closings:
            self._closing -= sum(window.readings for window in close.windows)
        self.progress = progress


def _take(frame: Frame, mask: NDArray[np.bool_]) -> Frame:
    return Frame(
        frame.kind,
        frame.sensor_key[mask],
        Dictionary(frame.sensor.codes[mask], frame.sensor.values),
        Dictionary(frame.area.codes[mask], frame.area.values),
        frame.ts[mask],
        {name: values[mask] for name, values in frame.measures.items()},
    )
