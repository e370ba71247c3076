"""The gateway process: one thread, one loop, between MQTT and Kafka."""

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
from civicstream.kafka.ledger_report import ReportPace, report_record
from civicstream.kinds import KINDS
from civicstream.retry import RetryTimer
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from civicstream.topics import frames_topic, topic_name
from ingest.bell import Bell
from ingest.buffered_socket import BufferedSocket
from ingest.delivery import Attempt
from ingest.intake import Intake
from ingest.kafka_output import KafkaOutput
from ingest.kafka_watch import STALLED_AFTER_S, KafkaWatch
from ingest.mqtt import MqttInput
from ingest.outgoing import Item, Outgoing, Report
from ingest.parked_reader import ParkedReader
from ingest.parking import PARKED

__all__ = ["run"]

log = logging.getLogger(__name__)

# Between looks at deadlines and confirmations; some 10 ms of work.
_PACKETS_A_TURN = 500
# A stop signal, or anything else that does not wake the loop, waits this long at most.
_LONGEST_WAIT_S = 0.2
_REPORT_EVERY_S = 1.0
# An orderly end waits that long for Kafka; what it then has not confirmed the broker sends again.
_END_S = 10.0


def run(
    settings: Settings,
    stop: threading.Event | None = None,
    clock: Callable[[], int] = now_ms,
) -> None:
    """Run the gateway until ``stop`` is set (default: SIGINT or SIGTERM).

    ``clock`` returns epoch milliseconds: by it readings are too old or of the future.
    """
    stop = stop or stop_on_signals()
    gateway = Gateway(settings, clock)
    try:
        gateway.serve(stop)
    finally:
        gateway.close()


class Gateway:
    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self._settings, self._bootstrap = settings, settings.kafka.bootstrap
        self._clock = clock
        self._epoch = wall_ms()
        self._bell = Bell()
        self._intake = Intake(settings, self._epoch, _city(settings))
        self._kafka: KafkaOutput[Attempt[Item] | Report] = KafkaOutput(
            settings.kafka, self._bell.ring, f"gateway/{settings.gateway.id}"
        )
        self._parked = ParkedReader(settings.kafka, settings.gateway.id, self._bell.ring)
        self._outgoing = Outgoing(
            settings, self._epoch, self._intake, self._kafka, self._parked, self._ack
        )
        self._mqtt = MqttInput(settings, self._receive, self._intake.acks.forget_packet_ids)
        self._now, self._now_ms = time.monotonic(), clock()
        self._watch = KafkaWatch(self._bootstrap, self._now)
        self._attempts = RetryTimer()
        self._was_ready = False
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
        deadline = time.monotonic() + _END_S
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
        self._watch.look(self._now, len(self._intake.acks))
        # Also before Kafka is there: the first subscription makes the broker keep messages.
        self._tend_mqtt(reading)
        self._intake.lanes.seal_due(self._now, self._now_ms, everything=not reading)
        if self._kafka.connected:
            self._outgoing.send(self._now)
        self._mqtt.flush()
        self._was_ready = self._was_ready or self._mqtt.ready
        if self._was_ready and self._now - self._reported_at >= _REPORT_EVERY_S:
            self._watch_partitions()
            self._send_report()

    def _wait(self, reading: bool) -> None:
        due = self._intake.lanes.next_due(self._now)
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

    def _watch_partitions(self) -> None:
        """Have partitions that cannot be written while others can passed by, and named."""
        if self._watch.is_stalled(self._now):
            return  # none can: that is said already
        prefix, gateway = self._settings.kafka.topic_prefix, self._settings.gateway
        delivery = self._outgoing.delivery
        if self._kafka.connected:
            pressed = len(self._intake.acks) > gateway.max_in_flight / 2
            delivery.watch(self._now, pressed=pressed)
        stuck = [
            f"{place.partition} of {topic_name(prefix, place.topic)}"
            for place in delivery.waiting(self._now, STALLED_AFTER_S)
        ]
        self._watch.look_at_partitions(stuck, gateway.park_after_s, topic_name(prefix, PARKED))

    def _ack(self, packet_ids: list[int]) -> None:
        self._mqtt.ack(packet_ids)

    def _receive(self, topic: str, payload: bytes, packet_id: int) -> None:
        self._intake.receive(topic, payload, packet_id, now_ms=self._now_ms, now=self._now)
        if self._intake.due:
            self._mqtt.ack(self._intake.due)
            self._intake.due.clear()

    def _connect_kafka(self) -> None:
        if not self._attempts.is_due(self._now):
            return
        try:
            self._kafka.connect()
        except ServerUnavailable as error:
            self._watch.not_connected(error)
            self._attempts.failed(time.monotonic())
            return
        self._watch.connected()
        self._report_out = False
        self._outgoing.delivery.send_again()

    def _take_outcomes(self) -> None:
        if self._take_confirmed() and self._kafka.connected:
            self._kafka.drop_producer()
            self._attempts.failed(time.monotonic())
            # What it still got through need not be sent again; the rest failed with it.
            self._take_confirmed()

    def _take_confirmed(self) -> bool:
        """Acknowledge what Kafka has; return whether it refused something."""
        refused: BaseException | None = None
        for item, error in self._kafka.outcomes():
            if isinstance(item, Report):
                self._report_out = False
                self._outgoing.delivery.note_progress(self._now)
            elif error is not None:
                refused = refused or error
            else:
                self._outgoing.delivery.confirmed(item, self._now)
            if error is None:
                self._watch.progress(self._now)
                self._attempts.succeeded()
        self._outgoing.settle()
        if refused is not None and self._kafka.connected:
            self._watch.refused(refused)
        return refused is not None

    def _send_report(self, *, last: bool = False) -> None:
        """Publish the ledger, unless the last one still waits: no pile while Kafka is away."""
        self._reported_at = self._now
        if self._report_out or not self._kafka.connected or not self._outgoing.delivery.ready:
            return
        parked, readings = self._outgoing.delivery.parked()
        report = self._intake.ledger.report(
            wall_ms(),
            self._intake.lanes.written(self._settings.kafka.topic_prefix),
            in_flight_messages=len(self._intake.acks),
            connected=self._mqtt.ready,
            parked_records=parked,
            **{f"parked_{kind}": readings[frames_topic(kind)] for kind in KINDS},
        )
        if not (last or self._pace.due(report)):
            return
        self._report_out = True
        made = report_record(self._settings.kafka, report)
        self._kafka.send("ledger", made.value, Report(), key=made.key, headers=made.headers)


def _city(settings: Settings) -> City | None:
    if settings.city.file is not None:
        return read_city(settings.city.file)
    if settings.gateway.strict_sensors:
        raise ConfigurationError(
            "CIVICSTREAM_GATEWAY__STRICT_SENSORS needs a city model; set CIVICSTREAM_CITY__FILE"
        )
    return None
