"""Frames being filled and waiting to be sent, one lane per kind and partition.

A lane has one frame at a time on its way to Kafka: the next follows when it is confirmed. So a
frame that has to be sent again never overtakes another, sequence numbers on a partition are in
order, and while Kafka is slow frames grow instead of multiplying.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from civicstream.frames import Dictionary, Frame, FrameHeaders, encode
from civicstream.kinds import Kind
from ingest.channels import Channel
from ingest.validation import Row

__all__ = ["Lane", "OpenFrame", "SealedFrame", "build_frame", "rows_that_fit"]

# Kafka refuses records over 1 MB by default (message.max.bytes); this leaves room for names.
_MAX_FRAME_BYTES = 600_000


def rows_that_fit(kind: Kind, max_rows: int) -> int:
    """Return how many rows a frame may have: ``max_rows``, or less where Kafka would refuse."""
    row_bytes = 8 + 4 + 4 + 8 + 8 * len(kind.measures)  # key, sensor, area, ts, measures
    return max(1, min(max_rows, _MAX_FRAME_BYTES // row_bytes))


class OpenFrame:
    """Rows of one lane that have not been sent yet, and the receipts of their messages."""

    __slots__ = ("channels", "opened_at", "payload_bytes", "receipts", "values")

    def __init__(self, opened_at: float) -> None:
        self.opened_at = opened_at
        self.channels: list[Channel] = []
        self.values: list[float | None] = []
        """The rows one after another, flat."""
        self.receipts: list[int] = []
        self.payload_bytes = 0

    def __len__(self) -> int:
        return len(self.channels)


@dataclass(frozen=True, slots=True)
class SealedFrame:
    """A frame as it goes to Kafka, and the messages that wait for it."""

    lane: Lane
    value: bytes
    headers: FrameHeaders
    receipts: list[int]
    payload_bytes: int


class Lane:
    """The frames of one kind and partition."""

    __slots__ = ("_next_seq", "_parked_from", "kind", "max_rows", "open", "partition", "sealed")

    def __init__(self, kind: Kind, partition: int, max_rows: int) -> None:
        self.kind = kind
        self.partition = partition
        self.max_rows = rows_that_fit(kind, max_rows)
        self.open: OpenFrame | None = None
        self.sealed: deque[SealedFrame] = deque()
        """The first of these is on its way to Kafka."""
        self._next_seq = 0
        self._parked_from: int | None = None
        """The first frame that Kafka has on the topic ``parked`` only."""

    @property
    def confirmed(self) -> int:
        """How many frames Kafka has confirmed on their partition, numbered from 0."""
        if self._parked_from is not None:
            return self._parked_from
        return self._next_seq - len(self.sealed)

    def park(self, seq: int) -> None:
        """Note that Kafka has a frame on the topic ``parked``."""
        if self._parked_from is None:
            self._parked_from = seq

    def deliver(self, seq: int) -> None:
        """Note that a frame that was parked is on its partition now."""
        if self._parked_from is not None:
            self._parked_from = max(self._parked_from, seq + 1)

    def none_parked(self) -> None:
        """Note that all that was parked is on its partition."""
        self._parked_from = None

    def seal(self, gateway: str, epoch: int, now_ms: int) -> SealedFrame:
        """Close the open frame, queue and return it; it must hold something."""
        frame, self.open = self.open, None
        assert frame is not None  # noqa: S101 a caller's slip, not a state of the world
        headers = FrameHeaders(gateway, epoch, self._next_seq, len(frame), now_ms)
        value = encode(build_frame(self.kind, frame.channels, frame.values))
        self._next_seq += 1
        sealed = SealedFrame(self, value, headers, frame.receipts, frame.payload_bytes)
        self.sealed.append(sealed)
        return sealed


def build_frame(
    kind: Kind, channels: Sequence[Channel], values: Sequence[float | None] | Sequence[Row]
) -> Frame:
    """Return n rows as a frame: ``channels`` [n], ``values`` flat [n * (1 + measures)]."""
    count = len(channels)
    table = np.array(values, np.float64).reshape(count, 1 + len(kind.measures))
    keys = np.fromiter((channel.key for channel in channels), np.int64, count)
    _, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    distinct = [channels[i] for i in first.tolist()]
    areas: dict[str, int] = {}
    area_of = np.array([areas.setdefault(c.area, len(areas)) for c in distinct], np.int32)
    columns = np.ascontiguousarray(table.T)
    return Frame(
        kind=kind,
        sensor_key=keys,
        sensor=Dictionary(codes.astype(np.int32), [c.sensor for c in distinct]),
        area=Dictionary(area_of[codes], list(areas)),
        # float64 holds milliseconds exactly until the year 287396
        ts=columns[0].astype(np.int64),
        measures={name: columns[1 + i] for i, name in enumerate(kind.measure_names)},
    )
