"""The gateway process: one thread, one loop, around ``Intake``."""

from __future__ import annotations

import contextlib
import logging
import select
import threading
import time
from collections.abc import Callable

from civicstream.city import City
from civicstream.clock import now_ms, wall_ms
from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.geojson import read_city
from civicstream.kafka.dead_letter import dead_letter_record
from civicstream.kafka.ledger_report import ReportPace, report_record
from civicstream.kinds import KINDS
from civicstream.partitioning import partition_of_key
from civicstream.retry import ThrottledLog
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from civicstream.topics import TOPICS, frames_topic, topic_name
from ingest.bell import Bell
from ingest.buffered_socket import BufferedSocket
from ingest.delivery import Attempt, Delivered, Delivery, Done
from ingest.intake import Intake, PendingEvent, PendingLetter
from ingest.kafka_output import KafkaOutput
from ingest.lanes import SealedFrame
from ingest.mqtt import MqttInput
from ingest.parked_reader import ParkedReader
from ingest.parking import PARKED, Place, Record

__all__ = ["run"]

log = logging.getLogger(__name__)

# Between looks at deadlines and confirmations; some 10 ms of work.
_PACKETS_A_TURN = 500
# A stop signal, or anything else that does not wake the loop, waits this long at most.
_LONGEST_WAIT_S = 0.2
_REPORT_EVERY_S = 1.0
# An orderly end waits so long for Kafka; what it then has not confirmed the broker sends again.
_FAREWELL_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_STALLED_AFTER_S = 5.0
_SAY_AGAIN_S = 10.0


class _Report:
    """Marks a ledger report among the records sent."""


Item = SealedFrame | PendingLetter | PendingEvent


def run(
    settings: Settings,
    stop: threading.Event | None = None,
    clock: Callable[[], int] = now_ms,
) -> None:
    """Run the gateway until ``stop`` is set (default: SIGINT or SIGTERM).

    ``clock`` returns epoch milliseconds: by it readings are too old or of the future.
    """
    stop = stop or stop_on_signals()
    gateway = _Gateway(settings, clock)
    try:
        gateway.serve(stop)
    finally:
        gateway.close()


class _Gateway:
    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self._settings, self._bootstrap = settings, settings.kafka.bootstrap
        self._clock = clock
        self._epoch = wall_ms()
        self._bell = Bell()
        self._intake = Intake(settings, self._epoch, _city(settings))
        self._kafka: KafkaOutput[Attempt[Item] | _Report] = KafkaOutput(
            settings.kafka, self._bell.ring, f"gateway/{settings.gateway.id}"
        )
        self._parked = ParkedReader(settings.kafka, settings.gateway.id, self._bell.ring)
        self._delivery: Delivery[Item] = Delivery(
            self._hand_over,
            self._parked,
            gateway=settings.gateway.id,
            epoch=self._epoch,
            park_after_s=settings.gateway.park_after_s,
            parked_partitions=self._partitions_of(PARKED),
        )
        self._mqtt = MqttInput(settings, self._receive, self._intake.acks.forget_packet_ids)
        self._now, self._now_ms = time.monotonic(), clock()
        self._kafka_at, self._kafka_pause_s = 0.0, _FIRST_PAUSE_S
        self._complained_at = -_SAY_AGAIN_S
        self._progress_at = self._now
        self._was_ready = False
        self._stuck = ThrottledLog(log)
        self._reported_at, self._report_out = 0.0, False
        self._pace = ReportPace()
        self._paused = False

    def serve(self, stop: threading.Event) -> None:
        """Work until ``stop``, then see everything that is in flight through."""
        log.info("gateway %s, epoch %d", self._settings.gateway.id, self._epoch)
        if self._intake.city.why_not:
            log.info("no reports are taken in: %s", self._intake.city.why_not)
        while not stop.is_set():
            self._turn(reading=True)
        deadline = time.monotonic() + _FAREWELL_S
        while len(self._intake.acks) and time.monotonic() < deadline:
            self._turn(reading=False)
        if len(self._intake.acks):
            log.warning(
                "ending with %d messages that Kafka has not confirmed; the MQTT broker will "
                "send them again",
                len(self._intake.acks),
            )
        if self._kafka.connected:
            self._send_report(last=True)

    def close(self) -> None:
        self._mqtt.flush()
        self._mqtt.close()
        self._parked.close(timeout_s=5)
        self._kafka.close(timeout_s=2)
        self._bell.close()

    def _turn(self, *, reading: bool) -> None:
        """One turn of the loop: wait, confirm, read, seal, send, acknowledge, report."""
        self._wait(reading)
        self._now, self._now_ms = time.monotonic(), self._clock()
        if not self._kafka.connected:
            self._connect_kafka()
        self._take_outcomes()
        self._watch_kafka()
        # Also before Kafka is there: the first subscription makes the broker keep messages.
        self._tend_mqtt(reading)
        self._intake.seal_due(self._now, self._now_ms, everything=not reading)
        self._send_out()
        self._mqtt.flush()
        self._was_ready = self._was_ready or self._mqtt.ready
        if self._was_ready and self._now - self._reported_at >= _REPORT_EVERY_S:
            self._watch_partitions()
            self._send_report()

    def _wait(self, reading: bool) -> None:
        due = self._intake.next_due(self._now)
        timeout_s = min(max(due - time.monotonic(), 0.0), _LONGEST_WAIT_S)
        link = self._mqtt.socket
        readers: list[Bell | BufferedSocket] = [self._bell]
        writers: list[BufferedSocket] = []
        if link is not None:
            if reading and not self._paused:
                readers.append(link)
                if link.pending():
                    timeout_s = 0.0
            if not self._mqtt.flush():
                writers.append(link)
        with contextlib.suppress(ValueError):  # the connection was closed just now
            select.select(readers, writers, [], timeout_s)
        self._bell.silence()

    def _tend_mqtt(self, reading: bool) -> None:
        self._pause_or_resume()
        if self._paused or not reading:
            self._mqtt.keep_alive_unread(self._now)
            return
        self._mqtt.read(_PACKETS_A_TURN, self._now)
        self._mqtt.maintain(self._now)

    def _pause_or_resume(self) -> None:
        """Stop reading while more is in flight than allowed.

        At QoS 1 MQTT 5 brokers stop by themselves (Receive Maximum); this bounds the rest.
        """
        gateway, messages = self._settings.gateway, len(self._intake.acks)
        size = self._intake.in_flight_bytes
        full = messages > gateway.max_in_flight or size > gateway.max_in_flight_bytes
        if full and not self._paused:
            log.warning(
                "%d messages (%d bytes) wait for Kafka at %s; not reading from MQTT until it "
                "confirms some",
                messages,
                size,
                self._bootstrap,
            )
        self._paused = full

    def _watch_kafka(self) -> None:
        """Say it, and again, while messages wait and Kafka confirms none."""
        waiting = len(self._intake.acks)
        if not waiting:
            self._progress_at = self._now
        stalled_s = self._now - self._progress_at
        if stalled_s < _STALLED_AFTER_S or self._now - self._complained_at < _SAY_AGAIN_S:
            return
        self._complained_at = self._now
        log.warning(
            "Kafka at %s has confirmed nothing for %.0f s; %d messages wait here, "
            "the MQTT broker keeps the others",
            self._bootstrap,
            stalled_s,
            waiting,
        )

    def _watch_partitions(self) -> None:
        """Name the partitions that cannot be written while others can."""
        if self._now - self._progress_at >= _STALLED_AFTER_S:
            return  # none can: that is said already
        prefix, gateway = self._settings.kafka.topic_prefix, self._settings.gateway
        if self._kafka.connected:
            pressed = len(self._intake.acks) > gateway.max_in_flight / 2
            self._delivery.watch(self._now, pressed=pressed)
        stuck = [
            f"{place.partition} of {topic_name(prefix, place.topic)}"
            for place in self._delivery.waiting(self._now, _STALLED_AFTER_S)
        ]
        if not stuck:
            self._stuck.over("Kafka at %s confirms every partition again", self._bootstrap)
            return
        self._stuck.warning(
            ", ".join(stuck),
            "Kafka at %s confirms some partitions, but not %s; after %g s what is for these goes "
            "to %s (not personal data, which waits): look at their leader and in-sync replicas",
            self._bootstrap,
            ", ".join(stuck),
            gateway.park_after_s,
            topic_name(prefix, PARKED),
        )

    def _made_progress(self) -> None:
        if self._now - self._progress_at >= _STALLED_AFTER_S:
            log.info("Kafka at %s confirms again", self._bootstrap)
            self._complained_at = -_SAY_AGAIN_S
        self._progress_at = self._now
        self._kafka_pause_s = _FIRST_PAUSE_S

    def _receive(self, topic: str, payload: bytes, packet_id: int) -> None:
        self._intake.receive(topic, payload, packet_id, now_ms=self._now_ms, now=self._now)
        if self._intake.due:
            self._mqtt.ack(self._intake.due)
            self._intake.due.clear()

    def _connect_kafka(self) -> None:
        if self._now < self._kafka_at:
            return
        try:
            self._kafka.connect()
        except ServerUnavailable as error:
            if self._now - self._complained_at >= _SAY_AGAIN_S:
                log.warning("waiting: %s", error)
                self._complained_at = self._now
            self._kafka_at = time.monotonic() + self._kafka_pause_s
            self._kafka_pause_s = min(self._kafka_pause_s * 2, _LONGEST_PAUSE_S)
            return
        log.info("connected to Kafka at %s", self._bootstrap)
        self._complained_at, self._report_out = -_SAY_AGAIN_S, False
        self._delivery.send_again()

    def _take_outcomes(self) -> None:
        if self._take_confirmed() and self._kafka.connected:
            self._kafka.drop_producer()
            self._kafka_at = time.monotonic() + self._kafka_pause_s
            # What it still got through need not be sent again; the rest failed with it.
            self._take_confirmed()

    def _take_confirmed(self) -> bool:
        """Acknowledge what Kafka has; return whether it refused something."""
        refused: BaseException | None = None
        for item, error in self._kafka.outcomes():
            if isinstance(item, _Report):
                self._report_out = False
                self._delivery.note_progress(self._now)
            elif error is not None:
                refused = refused or error
            else:
                self._delivery.confirmed(item, self._now)
            if error is None:
                self._made_progress()
        self._take_events()
        if refused is not None and self._kafka.connected:
            log.error(
                "Kafka at %s did not take a record (%s: %s); sending it again",
                self._bootstrap,
                type(refused).__name__,
                refused,
            )
        return refused is not None

    def _take_events(self) -> None:
        for event in self._delivery.take_events():
            if isinstance(event, Done):
                self._mqtt.ack(self._confirmed(event.item, parked=event.parked))
            elif isinstance(event, Delivered):
                if headers := event.record.frame_headers():
                    self._intake.frame_delivered(event.record.place, headers)
            else:
                self._intake.none_parked(event.place)

    def _confirmed(self, item: Item, *, parked: bool) -> list[int]:
        if isinstance(item, SealedFrame):
            return self._intake.frame_confirmed(item, parked=parked)
        if isinstance(item, PendingEvent):
            return self._intake.event_confirmed(item)
        return self._intake.letter_confirmed(item)

    def _send_out(self) -> None:
        if not self._kafka.connected:
            return
        self._delivery.tend(self._now)
        self._take_events()
        if not self._delivery.ready:
            return
        intake = self._intake
        while intake.ready:
            frame = intake.ready.popleft()
            self._delivery.send(_frame_record(frame), frame, self._now)
        while intake.letters:
            letter = intake.letters.popleft()
            self._delivery.send(self._letter_record(letter), letter, self._now)
        while intake.events:
            pending = intake.events.popleft()
            event = pending.event
            record = self._keyed(event.topic, event.key, event.value, event.headers)
            self._delivery.send(record, pending, self._now)

    def _letter_record(self, pending: PendingLetter) -> Record:
        letter = pending.letter
        made = dead_letter_record(
            letter, f"gateway/{letter.instance}", self._intake.dead_letter_id(pending)
        )
        return self._keyed("deadletter", made.key, made.value, made.headers)

    def _keyed(
        self, topic: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> Record:
        partition = partition_of_key(key, self._partitions_of(topic))
        return Record(Place(topic, partition), value, headers, key)

    def _partitions_of(self, topic: str) -> int:
        return TOPICS[topic].partitions or self._settings.kafka.partitions

    def _hand_over(self, attempt: Attempt[Item]) -> None:
        record = attempt.record
        self._kafka.send(
            record.place.topic,
            record.value,
            attempt,
            headers=record.headers,
            key=record.key,
            partition=record.place.partition,
        )

    def _send_report(self, *, last: bool = False) -> None:
        """Publish the ledger, unless the last one still waits: no pile while Kafka is away."""
        self._reported_at = self._now
        if self._report_out or not self._kafka.connected or not self._delivery.ready:
            return
        parked, readings = self._delivery.parked()
        report = self._intake.ledger.report(
            wall_ms(),
            self._intake.frames_written(self._settings.kafka.topic_prefix),
            in_flight_messages=len(self._intake.acks),
            connected=self._mqtt.ready,
            parked_records=parked,
            **{f"parked_{kind}": readings[frames_topic(kind)] for kind in KINDS},
        )
        if not (last or self._pace.due(report)):
            return
        self._report_out = True
        made = report_record(self._settings.kafka, report)
        self._kafka.send("ledger", made.value, _Report(), key=made.key, headers=made.headers)


def _frame_record(frame: SealedFrame) -> Record:
    place = Place(frames_topic(frame.lane.kind.name), frame.lane.partition)
    return Record(place, frame.value, frame.headers.to_kafka(), count=frame.headers.count)


def _city(settings: Settings) -> City | None:
    if settings.city.file is not None:
        return read_city(settings.city.file)
    if settings.gateway.strict_sensors:
        raise ConfigurationError(
            "CIVICSTREAM_GATEWAY__STRICT_SENSORS needs a city model; set CIVICSTREAM_CITY__FILE"
        )
    return None
