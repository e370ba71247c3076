"""One receiver: its own thread, group and offset, so that it holds up nobody but itself."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from alerts.deliveries.backoff import Patience, pause_s
from alerts.deliveries.channels.kafka_topic import KafkaTopic
from alerts.deliveries.figures import Figures
from alerts.deliveries.log_reader import LogReader, Stopped
from alerts.deliveries.outcomes import Refused, TryAgain
from alerts.deliveries.receivers import NotificationFilter, Receiver, Sender
from civicstream.clock import wall_ms
from civicstream.errors import Fenced, OwnershipLost, RecordTooLarge, ServerUnavailable
from civicstream.events import Alert
from civicstream.kafka.log_gaps import gap_record
from civicstream.kafka.transactional import Outgoing, TransactionalSender

__all__ = ["Delivery", "GiveUp", "MakeDeadLetter"]

log = logging.getLogger(__name__)

_LOG_EVERY_S = 30.0
_COMMIT_MS = 200
"""A commit takes longer than most deliveries. What came after it comes twice after a crash."""

GiveUp = Callable[[str, str, Any], None]
"""Reason, sentence, Kafka record: publishes the dead letter, returns when Kafka has it."""

MakeDeadLetter = Callable[[str, str, Any], Outgoing]
"""Reason, sentence, Kafka record: returns the dead letter's record."""


class Delivery(threading.Thread):
    """Takes alerts to one receiver, in order, each at least once.

    What is published on our own Kafka, dead letters and the alerts of a receiver there, is one
    transaction with the offset: exactly once.
    """

    def __init__(
        self,
        receiver: Receiver,
        sender: Sender,
        open_reader: Callable[[], LogReader],
        dead_letter: MakeDeadLetter,
        outlet: TransactionalSender,
        prefix: str,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=f"deliver-{receiver.name}")
        self.figures = Figures(receiver.name)
        self._receiver, self._sender = receiver, sender
        self._open_reader, self._dead_letter, self._stop_event = open_reader, dead_letter, stop
        self._outlet, self._prefix = outlet, prefix
        self._filter = NotificationFilter(receiver)
        self._rng = random.Random()
        self._said_at_ms = 0.0

    def run(self) -> None:
        failures = 0
        try:
            while not self._stop_event.is_set():
                try:
                    self._with_reader()
                except Stopped:
                    return
                except Fenced as error:
                    log.info("receiver %s: %s", self._receiver.name, error)
                except ServerUnavailable as error:
                    self._say(f"waiting: {error}")
                    failures = 0 if self.figures.ready else failures + 1
                    self._stop_event.wait(min(5.0, pause_s(failures, self._rng)))
                self.figures.ready = False
        finally:
            self._sender.close()
            self._outlet.close()

    def _with_reader(self) -> None:
        reader = self._open_reader()
        try:
            while True:
                try:
                    self._begin(reader)
                    self.figures.ready = True
                    while True:
                        self._refresh()
                        self._take(reader, reader.poll())
                except Fenced:
                    raise  # what the group said of us is long past: join it as a new member
                except OwnershipLost as error:
                    # Not by leaving the group: that would have the others do the same, for ever.
                    log.info("receiver %s: %s", self._receiver.name, error)
                    self.figures.ready = False
        finally:
            self._outlet.close()
            reader.close()

    def _begin(self, reader: LogReader) -> None:
        """Learn what the receiver was sent, from all that Kafka still has.

        A new receiver is sent the alerts that are active, as if each had just been raised.
        """
        committed, gap = reader.wait_for_partition()
        first, end = reader.ends()
        until = end if committed is None else committed
        self._filter = NotificationFilter(self._receiver)
        newest: dict[str, Any] = {}
        reader.seek(first)
        while reader.position() < until:
            for record in reader.poll():
                if record.offset < until and (alert := _decoded(record)):
                    self._filter.take(alert)
                    if alert.id in self._filter.active:
                        newest[alert.id] = record
        reader.begin(until)
        news = reader.identity()
        if gap is not None:
            news.append(gap_record(self._prefix, gap, f"deliver/{self._receiver.name}"))
            self.figures.log_gaps += 1
        if news:
            self._publish(reader, news, committed)
        if committed is None:
            for alert in list(self._filter.active.values()):
                self._deliver(reader, alert, newest[alert.id], None)
            reader.commit(until)
        self.figures.read = reader.read(self._receiver.name)

    def _take(self, reader: LogReader, records: Iterable[Any]) -> None:
        """Deliver the records; note how far we are now and then, and at the end of them."""
        done, noted_ms = None, wall_ms()
        for record in records:
            self.figures.lag_records = reader.lag(record.offset)
            alert, following = _decoded(record), record.offset + 1
            reader.count(record, corrupt=alert is None)
            if missing := reader.missing(f"deliver/{self._receiver.name}"):
                self._publish(reader, missing, record.offset)
            if alert is None:
                lost = self._dead_letter("foreign_record", "not an alert", record)
                self._publish(reader, [lost], following)
            elif self._filter.take(alert):
                reader.prove(record.offset)
                self._deliver(reader, alert, record, following)
            done = following
            if wall_ms() - noted_ms >= _COMMIT_MS:
                reader.commit(done)
                noted_ms = wall_ms()
        if done is not None:
            reader.commit(done)
            self.figures.read = reader.read(self._receiver.name)
        self.figures.lag_records = reader.lag(done) if done is not None else 0

    def _deliver(self, reader: LogReader, alert: Alert, record: Any, following: int | None) -> None:
        """Try until it is delivered, refused, or too late; then it is a dead letter.

        ``following``: the offset to go on from afterwards; None: it is not moved by this one.
        """
        patience = Patience(record.timestamp, wall_ms(), self._receiver.give_up_after_s)
        attempt = 0
        while True:
            try:
                self.figures.attempts += 1
                self._send(reader, alert, following)
            except Refused as error:
                self._lose(reader, "delivery_refused", f"{error}", alert, record, following)
                break
            except TryAgain as error:
                if patience.over(wall_ms()):
                    why = f"last of all: {error}"
                    self._lose(reader, "delivery_timed_out", why, alert, record, following)
                    break
                self.figures.waiting_since_ms = patience.first_tried_ms
                self._say(f"alert {alert.id} version {alert.version}: {error}; trying again")
                reader.idle(max(pause_s(attempt, self._rng), error.after_s))
                if following is not None:
                    reader.prove(record.offset)
                attempt += 1
            else:
                self.figures.delivered += 1
                break
        self.figures.waiting_since_ms = None

    def _send(self, reader: LogReader, alert: Alert, following: int | None) -> None:
        if not isinstance(self._sender, KafkaTopic) or not self._sender.with_offset:
            self._sender.send(alert)
            return
        try:
            if not self._outlet.is_open:
                self._outlet.open()
                if following is not None and (reader.committed() or 0) >= following:
                    return  # the transaction whose end was not known had been committed
            self._publish(reader, [self._sender.outgoing(alert)], following)
        except RecordTooLarge as error:
            raise Refused(str(error)) from error
        except ServerUnavailable as error:
            raise TryAgain(str(error)) from error

    def _publish(self, reader: LogReader, records: list[Outgoing], following: int | None) -> None:
        """Put records on our Kafka and go on from ``following``, both or neither."""
        if not self._outlet.is_open:
            self._outlet.open()
        offsets = None if following is None else reader.offsets(following)
        self._outlet.commit(records, offsets, reader.group_metadata())

    def _lose(
        self,
        reader: LogReader,
        reason: str,
        why: str,
        alert: Alert,
        record: Any,
        following: int | None,
    ) -> None:
        sentence = (
            f"receiver {self._receiver.name!r}, alert {alert.id!r} version {alert.version}: {why}"
        )
        self._publish(reader, [self._dead_letter(reason, sentence, record)], following)
        self.figures.failed += 1

    def _refresh(self) -> None:
        refresh = getattr(self._sender, "refresh", None)
        if refresh is not None:
            refresh(self._filter.active.values())

    def _say(self, sentence: str) -> None:
        """Log at once, and then now and then while it goes on."""
        if wall_ms() - self._said_at_ms >= 1000 * _LOG_EVERY_S:
            self._said_at_ms = wall_ms()
            log.warning("receiver %s: %s", self._receiver.name, sentence)


def _decoded(record: Any) -> Alert | None:
    try:
        return msgspec.json.decode(record.value or b"", type=Alert)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
