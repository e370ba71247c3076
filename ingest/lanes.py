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

from civicstream.events import WrittenSequence
from civicstream.frames import Dictionary, Frame, FrameHeaders, encode
from civicstream.kinds import KINDS, Kind
from civicstream.topics import frames_topic, topic_name
from ingest.channels import Channel
from ingest.held_back import HeldBack
from ingest.parking import TopicPartition
from ingest.validation import Row

__all__ = ["Lane", "Lanes", "OpenFrame", "SealedFrame", "build_frame", "rows_that_fit"]

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


class Lanes:
    """All lanes of a gateway: filled, sealed by size and by age, and what Kafka has of them.

    Times ``now`` are of a monotonic clock [s].
    """

    def __init__(
        self, gateway: str, epoch: int, max_rows: int, max_age_s: float, max_idle_s: float
    ) -> None:
        self.ready: deque[SealedFrame] = deque()
        """Frames that have not been handed to Kafka yet, each the first of its lane."""
        self._gateway, self._epoch = gateway, epoch
        self._max_rows, self._max_age_s = max_rows, max_age_s
        self._held_back = HeldBack(max_idle_s, max_age_s)
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._filling: dict[Lane, None] = {}
        """Lanes with an open frame, the oldest first."""
        self._delivered: dict[tuple[int, str, int], int] = {}
        """Epoch, topic and partition of frames that an earlier start had parked -> the number
        after the last one that is on its partition."""

    def of(self, channel: Channel) -> Lane:
        """Return the lane of a channel's readings."""
        lane = self._lanes.get((channel.kind, channel.partition))
        if lane is None:
            lane = Lane(KINDS[channel.kind], channel.partition, self._max_rows)
            self._lanes[channel.kind, channel.partition] = lane
        return lane

    def add(
        self, lane: Lane, channel: Channel, rows: list[Row], receipt: int, now: float, now_ms: int
    ) -> None:
        """Put rows of one message into the lane's open frame; at most a frame's worth."""
        self._held_back.came(now, waiting=bool(self._filling))
        frame = lane.open
        if frame is not None and len(frame) + len(rows) > lane.max_rows:
            self.seal(lane, now_ms)
            frame = None
        if frame is None:
            frame = lane.open = OpenFrame(now)
            self._filling[lane] = None
        for row in rows:
            frame.values.extend(row)
            frame.channels.append(channel)
        frame.receipts.append(receipt)

    def seal_due(self, now: float, now_ms: int, *, everything: bool = False) -> None:
        """Seal the open frames that are old enough and whose lane is free, or ``everything``.

        When one is old enough, those of half its age go along: Kafka takes a dozen frames in one
        request at a quarter of the CPU that a dozen requests cost. When nothing comes any more,
        none waits.
        """
        self._held_back.turn_ended(now)
        if not everything and self.next_due(now) > now:
            return
        idle = self._held_back.over_at <= now
        if idle and self._filling:
            self._held_back.waited()
        young = now if idle else now - self._max_age_s / 2
        for lane in list(self._filling):
            assert lane.open is not None  # noqa: S101 it is filling
            if everything or (lane.open.opened_at <= young and not lane.sealed):
                self.seal(lane, now_ms)

    def next_due(self, now: float) -> float:
        """Return when [s, monotonic] the next open frame should be sealed.

        A lane that waits for Kafka is not counted: the confirmation wakes the loop.
        """
        opened = (lane.open.opened_at for lane in self._filling if lane.open and not lane.sealed)
        oldest = min(opened, default=None)
        if oldest is None:
            return now + 3600
        return min(oldest + self._max_age_s, self._held_back.over_at)

    def seal(self, lane: Lane, now_ms: int) -> None:
        """Close the lane's open frame; it goes out when those before it are confirmed."""
        self._filling.pop(lane, None)
        sealed = lane.seal(self._gateway, self._epoch, now_ms)
        if len(lane.sealed) == 1:
            self.ready.append(sealed)

    def confirmed(self, frame: SealedFrame, *, parked: bool) -> None:
        """Kafka has the frame: its lane may go on.

        ``parked``: Kafka has it on the topic ``parked``, from where it is sent on later.
        """
        lane = frame.lane
        self._held_back.acknowledged()
        if parked:
            lane.park(frame.headers.seq)
        lane.sealed.popleft()
        if lane.sealed:
            self.ready.append(lane.sealed[0])

    def delivered(self, place: TopicPartition, headers: FrameHeaders) -> None:
        """A frame that was parked, by this start or an earlier one, is on its partition."""
        if headers.epoch != self._epoch:
            earlier = (headers.epoch, *place)
            self._delivered[earlier] = max(self._delivered.get(earlier, 0), headers.seq + 1)
        elif lane := self._lane_of(place):
            lane.deliver(headers.seq)

    def none_parked(self, place: TopicPartition) -> None:
        """No record of the partition is parked any more."""
        if lane := self._lane_of(place):
            lane.none_parked()

    def _lane_of(self, place: TopicPartition) -> Lane | None:
        return self._lanes.get((place.topic.removeprefix("frames."), place.partition))

    def written(self, prefix: str) -> list[WrittenSequence]:
        """Return which frames Kafka has confirmed; ``prefix`` is that of the topics."""
        confirmed = {
            (self._epoch, frames_topic(kind), partition): lane.confirmed
            for (kind, partition), lane in self._lanes.items()
        }
        return [
            WrittenSequence(self._gateway, epoch, topic_name(prefix, topic), partition, following)
            for (epoch, topic, partition), following in sorted(
                (confirmed | self._delivered).items()
            )
        ]


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
