"""From one MQTT message to rows in open frames, dead letters and counts. No I/O.

``service`` feeds messages in, sends what comes out, and reports back what Kafka confirmed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NoReturn

from civicstream.city import City
from civicstream.errors import RejectedReading
from civicstream.events import DeadLetter, WrittenSequence
from civicstream.frames import FrameHeaders
from civicstream.kafka.dead_letter import Origin, make_dead_letter
from civicstream.kinds import KINDS
from civicstream.reading_age import max_age_of
from civicstream.settings import Settings
from civicstream.topics import frames_topic, topic_name
from ingest.acks import AckWindow
from ingest.channels import Channel, Channels, kind_of
from ingest.city_messages import CityMessages, Event, MessageKind, Refusal
from ingest.guard import Guard
from ingest.lanes import Lane, OpenFrame, SealedFrame
from ingest.ledger import Ledger
from ingest.newcomers import Newcomers
from ingest.parking import Place
from ingest.readings import BadMember, Decoded, ReadingDecoder
from ingest.validation import Row

__all__ = ["Intake", "PendingEvent", "PendingLetter"]

# base64 makes four bytes of three, and Kafka refuses records over 1 MB by default.
_MAX_KEPT = 512 * 1024
_MEMBERS_LISTED = 20


@dataclass(frozen=True, slots=True, eq=False)
class PendingLetter:
    """A dead letter on its way to Kafka and the message that waits for it."""

    letter: DeadLetter
    kind: str
    receipt: int
    payload_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class PendingEvent:
    """One of the events of a report or of what a unit said, on its way to Kafka."""

    event: Event
    kind: MessageKind
    receipt: int
    payload_bytes: int


class Intake:
    """All state of a gateway between MQTT and Kafka."""

    def __init__(self, settings: Settings, epoch: int, city: City | None = None) -> None:
        """``city`` is the city model, where there is one."""
        gateway = settings.gateway
        self._gateway, self._epoch = gateway.id, epoch
        self._root = settings.mqtt.root
        self._max_payload = gateway.max_payload_bytes
        self._max_rows = gateway.max_frame_readings
        self._max_age_s = gateway.max_frame_age_ms / 1000
        self._decoders = {
            name: ReadingDecoder(
                kind,
                max_age=max_age_of(name, settings.database),
                max_future_skew_ms=round(gateway.max_future_skew_s * 1000),
            )
            for name, kind in KINDS.items()
        }
        newcomers = Newcomers(gateway, frozenset(city.area_index) if city else frozenset())
        self._channels = Channels(
            self._root,
            settings.kafka.partitions,
            newcomers,
            frozenset(city.sensor_keys.tolist()) if city else (),
            strict=gateway.strict_sensors,
        )
        self.city = CityMessages(settings, newcomers)
        self._guard = Guard()
        self._unconfirmed: dict[int, int] = {}
        """Receipt of a report or unit message -> its events that Kafka has not confirmed."""
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._filling: dict[Lane, None] = {}
        """Lanes with an open frame, the oldest first."""
        self.acks = AckWindow()
        self.ledger = Ledger(gateway.id, epoch)
        self.letters: deque[PendingLetter] = deque()
        """Dead letters that have not been handed to Kafka yet."""
        self.events: deque[PendingEvent] = deque()
        """Events of reports and units that have not been handed to Kafka yet."""
        self.ready: deque[SealedFrame] = deque()
        """Frames that have not been handed to Kafka yet, each the first of its lane."""
        self._delivered: dict[tuple[int, str, int], int] = {}
        """Epoch, topic and partition of frames that an earlier start had parked -> the number
        after the last one that is on its partition."""
        self.in_flight_bytes = 0
        self._own = f"{self._root}/alert/"
        self.due: list[int] = []
        """Packet ids to acknowledge at once: of our own alerts, which Kafka has already."""

    def receive(
        self, topic: str, payload: bytes, packet_id: int, *, now_ms: int, now: float
    ) -> None:
        """Take one message: received at ``now_ms`` (epoch), ``now`` on the monotonic clock [s]."""
        try:
            channel = self._channels.find(topic, now)
            if len(payload) > self._max_payload:
                _refuse_oversized(payload, self._max_payload)
            decoded = self._decoders[channel.kind].decode(payload, channel.sensor, now_ms)
        except RejectedReading as error:
            self._receive_other(topic, payload, packet_id, error, now_ms=now_ms, now=now)
            return
        except Exception as error:
            rejection = self._guard.rejection(kind_of(topic, self._root), error, now)
            self._reject_whole(topic, payload, packet_id, now_ms, rejection)
            return
        rows, bad_members = decoded.rows, decoded.bad
        self.ledger.received[channel.kind] += len(rows) + len(bad_members)
        lane = self._lane(channel)
        if not bad_members and len(rows) <= lane.max_rows:
            receipt = self.acks.receive(packet_id)
        else:
            chunks = -(-len(rows) // lane.max_rows)
            receipt = self.acks.receive(packet_id, chunks + bool(bad_members))
        if bad_members:
            self._queue_letter(channel.kind, topic, payload, receipt, now_ms, decoded)
        for start in range(0, len(rows), lane.max_rows):
            self._add(lane, channel, rows[start : start + lane.max_rows], receipt, now, now_ms)
        if rows:
            frame = lane.open
            assert frame is not None  # noqa: S101 just added to
            frame.payload_bytes += len(payload)
            self.in_flight_bytes += len(payload)
            if len(frame) >= lane.max_rows:
                self._seal(lane, now_ms)

    def _receive_other(
        self,
        topic: str,
        payload: bytes,
        packet_id: int,
        error: RejectedReading,
        *,
        now_ms: int,
        now: float,
    ) -> None:
        """Take what is no reading: our own alert, a report, a unit's message, a dead letter."""
        kind = self.city.kind(topic)
        if topic.startswith(self._own):
            self.ledger.gauges["own_alerts"] += 1
            self.due += self.acks.confirm([self.acks.receive(packet_id)])
        elif kind is None:
            self._reject_whole(topic, payload, packet_id, now_ms, error)
        else:
            self._receive_city(kind, topic, payload, packet_id, now_ms=now_ms, now=now)

    def _receive_city(
        self,
        kind: MessageKind,
        topic: str,
        payload: bytes,
        packet_id: int,
        *,
        now_ms: int,
        now: float,
    ) -> None:
        """Take a report or what a unit says: acknowledged when Kafka has all that came of it."""
        self.ledger.received[kind] += 1
        found: list[Event] | Refusal
        try:
            found = self.city.take(kind, topic, payload, now_ms=now_ms, now=now)
        except Exception as error:
            rejection = self._guard.rejection(kind, error, now)
            found = self.city.refusal(kind, topic, payload, rejection)
        if isinstance(found, Refusal):
            self._refuse(kind, found, len(payload), packet_id, now_ms)
            return
        receipt = self.acks.receive(packet_id, len(found))
        self._unconfirmed[receipt] = len(found)
        for event in found:
            self.in_flight_bytes += len(event.value)
            self.events.append(PendingEvent(event, kind, receipt, len(event.value)))

    def _refuse(
        self, kind: MessageKind, refusal: Refusal, size: int, packet_id: int, now_ms: int
    ) -> None:
        if refusal.reason == "rate_limited":
            self.ledger.gauges["rate_limited"] += 1
        letter = make_dead_letter(
            "gateway",
            self._gateway,
            Origin(refusal.topic),
            refusal.payload,
            refusal.reason,
            refusal.detail,
            at_ms=now_ms,
            kind=kind,
            size=size,
        )
        self.in_flight_bytes += len(refusal.payload)
        receipt = self.acks.receive(packet_id)
        self.letters.append(PendingLetter(letter, kind, receipt, len(refusal.payload)))

    def _lane(self, channel: Channel) -> Lane:
        lane = self._lanes.get((channel.kind, channel.partition))
        if lane is None:
            lane = Lane(KINDS[channel.kind], channel.partition, self._max_rows)
            self._lanes[channel.kind, channel.partition] = lane
        return lane

    def _add(
        self,
        lane: Lane,
        channel: Channel,
        rows: list[Row],
        receipt: int,
        now: float,
        now_ms: int,
    ) -> None:
        frame = lane.open
        if frame is not None and len(frame) + len(rows) > lane.max_rows:
            self._seal(lane, now_ms)
            frame = None
        if frame is None:
            frame = lane.open = OpenFrame(now)
            self._filling[lane] = None
        for row in rows:
            frame.values.extend(row)
            frame.channels.append(channel)
        frame.receipts.append(receipt)

    def _reject_whole(
        self, topic: str, payload: bytes, packet_id: int, now_ms: int, error: RejectedReading
    ) -> None:
        kind = kind_of(topic, self._root)
        self.ledger.received[kind] += 1
        receipt = self.acks.receive(packet_id)
        bad = BadMember(0, error.reason, error.detail)
        self._queue_letter(kind, topic, payload, receipt, now_ms, Decoded([], [bad]))

    def _queue_letter(
        self, kind: str, topic: str, payload: bytes, receipt: int, now_ms: int, decoded: Decoded
    ) -> None:
        bad = decoded.bad
        total = len(bad) + len(decoded.rows)
        detail = bad[0].detail
        if total > 1:
            detail = f"{len(bad)} of {total} readings rejected; [{bad[0].index}] {detail}"
        letter = make_dead_letter(
            "gateway",
            self._gateway,
            Origin(topic),
            payload,
            bad[0].reason,
            detail,
            at_ms=now_ms,
            kind=kind if kind in KINDS else None,
            whole_up_to=min(self._max_payload, _MAX_KEPT),
            count=len(bad),
            members=[(b.index, b.detail) for b in bad[:_MEMBERS_LISTED]] if total > 1 else [],
        )
        # A wholly rejected message is in memory once; of a mixed one the frame counts the bytes.
        weight = len(letter.payload) if not decoded.rows else 0
        self.in_flight_bytes += weight
        self.letters.append(PendingLetter(letter, kind, receipt, weight))

    def seal_due(self, now: float, now_ms: int, *, everything: bool = False) -> None:
        """Seal the open frames that are old enough and whose lane is free, or ``everything``.

        When one is old enough, those of half its age go along: Kafka takes a dozen frames in one
        request at a quarter of the CPU that a dozen requests cost.
        """
        if not everything and self.next_due(now) > now:
            return
        young = now - self._max_age_s / 2
        for lane in list(self._filling):
            assert lane.open is not None  # noqa: S101 it is filling
            if everything or (lane.open.opened_at <= young and not lane.sealed):
                self._seal(lane, now_ms)

    def next_due(self, now: float) -> float:
        """Return when [s, monotonic] the next open frame should be sealed.

        A lane that waits for Kafka is not counted: the confirmation wakes the loop.
        """
        opened = (lane.open.opened_at for lane in self._filling if lane.open and not lane.sealed)
        return min(opened, default=now + 3600) + self._max_age_s

    def _seal(self, lane: Lane, now_ms: int) -> None:
        self._filling.pop(lane, None)
        sealed = lane.seal(self._gateway, self._epoch, now_ms)
        if len(lane.sealed) == 1:
            self.ready.append(sealed)

    def frame_confirmed(self, frame: SealedFrame, *, parked: bool = False) -> list[int]:
        """Kafka has the frame: return the packet ids to acknowledge; its lane may go on.

        ``parked``: Kafka has it on the topic ``parked``, from where it is sent on later.
        """
        lane = frame.lane
        if parked:
            lane.park(frame.headers.seq)
        lane.sealed.popleft()
        if lane.sealed:
            self.ready.append(lane.sealed[0])
        self.in_flight_bytes -= frame.payload_bytes
        self.ledger.accepted[lane.kind.name] += frame.headers.count
        self.ledger.gauges["frames"] += 1
        self.ledger.gauges["bytes"] += len(frame.value)
        return self.acks.confirm(frame.receipts)

    def letter_confirmed(self, pending: PendingLetter) -> list[int]:
        """Kafka has the dead letter: return the packet ids to acknowledge."""
        self.in_flight_bytes -= pending.payload_bytes
        self.ledger.rejected[pending.kind] += pending.letter.count
        self.ledger.gauges["dead_letters"] += 1
        return self.acks.confirm((pending.receipt,))

    def event_confirmed(self, pending: PendingEvent) -> list[int]:
        """Kafka has the event: return the packet ids to acknowledge."""
        self.in_flight_bytes -= pending.payload_bytes
        self._unconfirmed[pending.receipt] -= 1
        if not self._unconfirmed[pending.receipt]:
            del self._unconfirmed[pending.receipt]
            self.ledger.accepted[pending.kind] += 1
            self.ledger.gauges["events"] += 1
        return self.acks.confirm((pending.receipt,))

    def frame_delivered(self, place: Place, headers: FrameHeaders) -> None:
        """A frame that was parked, by this start or an earlier one, is on its partition."""
        if headers.epoch != self._epoch:
            earlier = (headers.epoch, *place)
            self._delivered[earlier] = max(self._delivered.get(earlier, 0), headers.seq + 1)
        elif lane := self._lane_of(place):
            lane.deliver(headers.seq)

    def none_parked(self, place: Place) -> None:
        """No record of the partition is parked any more."""
        if lane := self._lane_of(place):
            lane.none_parked()

    def _lane_of(self, place: Place) -> Lane | None:
        return self._lanes.get((place.topic.removeprefix("frames."), place.partition))

    def frames_written(self, prefix: str) -> list[WrittenSequence]:
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

    def dead_letter_id(self, pending: PendingLetter) -> str:
        """Return the event id of a dead letter, the same when it is sent again."""
        return f"{self._gateway}/{self._epoch}/{pending.receipt}"


def _refuse_oversized(payload: bytes, limit: int) -> NoReturn:
    raise RejectedReading(
        "payload_too_large",
        f"payload of {len(payload)} bytes is over the limit of {limit}; send fewer readings at "
        "once, or raise CIVICSTREAM_GATEWAY__MAX_PAYLOAD_BYTES",
    )
