"""From one MQTT message to rows in open frames, dead letters and counts. No I/O.

``service`` feeds messages in, sends what comes out, and reports back what Kafka confirmed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from civicstream.city import City
from civicstream.errors import RejectedReading
from civicstream.events import DeadLetter
from civicstream.kinds import KINDS
from civicstream.reading_age import max_age_of
from civicstream.settings import Settings
from ingest.acks import AckWindow
from ingest.channels import Channels, kind_of
from ingest.city_messages import CityMessages, Event, MessageKind, Refusal
from ingest.lanes import Lanes, SealedFrame
from ingest.ledger import Ledger
from ingest.newcomers import Newcomers
from ingest.readings import BadMember, Decoded, ReadingDecoder
from ingest.rejections import Guard, refuse_oversized, refused_message, rejected_readings

__all__ = ["Intake", "PendingDeadLetter", "PendingEvent"]


@dataclass(frozen=True, slots=True, eq=False)
class PendingDeadLetter:
    """A dead letter on its way to Kafka and the message that waits for it."""

    dead_letter: DeadLetter
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
        self.lanes = Lanes(
            self._gateway,
            epoch,
            gateway.max_frame_readings,
            gateway.max_frame_age_ms / 1000,
            gateway.max_frame_idle_ms / 1000,
        )
        self.acks = AckWindow()
        self.ledger = Ledger(gateway.id, epoch)
        self.dead_letters: deque[PendingDeadLetter] = deque()
        """Dead letters that have not been handed to Kafka yet."""
        self.events: deque[PendingEvent] = deque()
        """Events of reports and units that have not been handed to Kafka yet."""
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
                refuse_oversized(payload, self._max_payload)
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
        lane = self.lanes.of(channel)
        if not bad_members and len(rows) <= lane.max_rows:
            receipt = self.acks.receive(packet_id)
        else:
            chunks = -(-len(rows) // lane.max_rows)
            receipt = self.acks.receive(packet_id, chunks + bool(bad_members))
        if bad_members:
            self._queue_dead_letter(channel.kind, topic, payload, receipt, now_ms, decoded)
        for start in range(0, len(rows), lane.max_rows):
            self.lanes.add(lane, channel, rows[start : start + lane.max_rows], receipt, now, now_ms)
        if rows:
            frame = lane.open
            assert frame is not None  # noqa: S101 just added to
            frame.payload_bytes += len(payload)
            self.in_flight_bytes += len(payload)
            if len(frame) >= lane.max_rows:
                self.lanes.seal(lane, now_ms)

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
        dead_letter = refused_message(self._gateway, kind, refusal, size, now_ms)
        self.in_flight_bytes += len(refusal.payload)
        receipt = self.acks.receive(packet_id)
        self.dead_letters.append(
            PendingDeadLetter(dead_letter, kind, receipt, len(refusal.payload))
        )

    def _reject_whole(
        self, topic: str, payload: bytes, packet_id: int, now_ms: int, error: RejectedReading
    ) -> None:
        kind = kind_of(topic, self._root)
        self.ledger.received[kind] += 1
        receipt = self.acks.receive(packet_id)
        bad = BadMember(0, error.reason, error.detail)
        self._queue_dead_letter(kind, topic, payload, receipt, now_ms, Decoded([], [bad]))

    def _queue_dead_letter(
        self, kind: str, topic: str, payload: bytes, receipt: int, now_ms: int, decoded: Decoded
    ) -> None:
        dead_letter = rejected_readings(
            self._gateway, kind, topic, payload, decoded, now_ms, self._max_payload
        )
        # A wholly rejected message is in memory once; of a mixed one the frame counts the bytes.
        weight = len(dead_letter.payload) if not decoded.rows else 0
        self.in_flight_bytes += weight
        self.dead_letters.append(PendingDeadLetter(dead_letter, kind, receipt, weight))

    def frame_confirmed(self, frame: SealedFrame, *, parked: bool = False) -> list[int]:
        """Kafka has the frame: return the packet ids to acknowledge; its lane may go on.

        ``parked``: Kafka has it on the topic ``parked``, from where it is sent on later.
        """
        self.lanes.confirmed(frame, parked=parked)
        self.in_flight_bytes -= frame.payload_bytes
        self.ledger.accepted[frame.lane.kind.name] += frame.headers.count
        self.ledger.gauges["frames"] += 1
        self.ledger.gauges["bytes"] += len(frame.value)
        return self.acks.confirm(frame.receipts)

    def dead_letter_confirmed(self, pending: PendingDeadLetter) -> list[int]:
        """Kafka has the dead letter: return the packet ids to acknowledge."""
        self.in_flight_bytes -= pending.payload_bytes
        self.ledger.rejected[pending.kind] += pending.dead_letter.count
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

    def dead_letter_id(self, pending: PendingDeadLetter) -> str:
        """Return the event id of a dead letter, the same when it is sent again."""
        return f"{self._gateway}/{self._epoch}/{pending.receipt}"
