"""One receiver: its own thread, group and offset, so that it holds up nobody but itself."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from civicstream.clock import wall_ms
from civicstream.errors import OwnershipLost, ServerUnavailable
from civicstream.events import Alert
from sinks.deliveries.backoff import Patience, pause_s
from sinks.deliveries.figures import Figures
from sinks.deliveries.log_reader import LogReader, Stopped
from sinks.deliveries.outcomes import Refused, TryAgain
from sinks.deliveries.receivers import Receiver
from sinks.deliveries.told import Told

__all__ = ["Delivery", "GiveUp", "Sender"]

log = logging.getLogger(__name__)

_SAY_AGAIN_S = 30.0
_COMMIT_MS = 200
"""A commit takes longer than most deliveries. What came after it comes twice after a crash."""

GiveUp = Callable[[str, str, Any], None]
"""Reason, sentence, Kafka record: publishes the dead letter, returns when Kafka has it."""


class Sender(Protocol):
    """What a type of receiver does."""

    def send(self, alert: Alert) -> None:
        """Return when the receiver has confirmed; raise Refused or TryAgain."""

    def close(self) -> None: ...


class Delivery(threading.Thread):
    """Takes alerts to one receiver, in order, each at least once."""

    def __init__(
        self,
        receiver: Receiver,
        sender: Sender,
        open_reader: Callable[[], LogReader],
        give_up: GiveUp,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=f"deliver-{receiver.name}")
        self.figures = Figures(receiver.name)
        self._receiver, self._sender = receiver, sender
        self._open_reader, self._give_up, self._stop_event = open_reader, give_up, stop
        self._told = Told(receiver)
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
                except ServerUnavailable as error:
                    self._say(f"waiting: {error}")
                    failures = 0 if self.figures.ready else failures + 1
                    self._stop_event.wait(min(5.0, pause_s(failures, self._rng)))
                self.figures.ready = False
        finally:
            self._sender.close()

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
                except OwnershipLost as error:
                    # Not by leaving the group: that would have the others do the same, for ever.
                    log.info("receiver %s: %s", self._receiver.name, error)
                    self.figures.ready = False
        finally:
            reader.close()

    def _begin(self, reader: LogReader) -> None:
        """Learn what the receiver was told, from all that Kafka still has.

        A new receiver is told of the alerts that are active, as if each had just been raised.
        """
        committed = reader.wait_for_partition()
        first, end = reader.ends()
        until = end if committed is None else committed
        self._told = Told(self._receiver)
        newest: dict[str, Any] = {}
        at = first
        reader.seek(first)
        while at < until and not reader.at_end(at):
            for record in reader.poll():
                at = record.offset + 1
                if record.offset < until and (alert := _decoded(record)):
                    self._told.take(alert)
                    if alert.id in self._told.active:
                        newest[alert.id] = record
        reader.seek(until)
        if committed is None:
            for alert in list(self._told.active.values()):
                self._deliver(reader, alert, newest[alert.id])
            reader.commit(until)

    def _take(self, reader: LogReader, records: Iterable[Any]) -> None:
        """Deliver the records; note how far we are now and then, and at the end of them."""
        done, noted_ms = None, wall_ms()
        for record in records:
            self.figures.lag_records = reader.lag(record.offset)
            alert = _decoded(record)
            if alert is None:
                self._give_up("foreign_record", "not an alert", record)
            elif self._told.take(alert):
                self._deliver(reader, alert, record)
            done = record.offset + 1
            if wall_ms() - noted_ms >= _COMMIT_MS:
                reader.commit(done)
                noted_ms = wall_ms()
        if done is not None:
            reader.commit(done)
        self.figures.lag_records = reader.lag(done) if done is not None else 0

    def _deliver(self, reader: LogReader, alert: Alert, record: Any) -> None:
        """Try until it is delivered, refused, or too late; then it is a dead letter."""
        patience = Patience(record.timestamp, wall_ms(), self._receiver.give_up_after_s)
        attempt = 0
        while True:
            try:
                self.figures.attempts += 1
                self._sender.send(alert)
            except Refused as error:
                self._lose("delivery_refused", f"{error}", alert, record)
                break
            except TryAgain as error:
                if patience.over(wall_ms()):
                    self._lose("delivery_timed_out", f"last of all: {error}", alert, record)
                    break
                self.figures.waiting_since_ms = patience.first_tried_ms
                self._say(f"alert {alert.id} version {alert.version}: {error}; trying again")
                reader.idle(max(pause_s(attempt, self._rng), error.after_s))
                attempt += 1
            else:
                self.figures.delivered += 1
                break
        self.figures.waiting_since_ms = None

    def _lose(self, reason: str, why: str, alert: Alert, record: Any) -> None:
        sentence = (
            f"receiver {self._receiver.name!r}, alert {alert.id!r} version {alert.version}: {why}"
        )
        self._give_up(reason, sentence, record)
        self.figures.failed += 1

    def _refresh(self) -> None:
        refresh = getattr(self._sender, "refresh", None)
        if refresh is not None:
            refresh(self._told.active.values())

    def _say(self, sentence: str) -> None:
        """Log at once, and then now and then while it goes on."""
        if wall_ms() - self._said_at_ms >= 1000 * _SAY_AGAIN_S:
            self._said_at_ms = wall_ms()
            log.warning("receiver %s: %s", self._receiver.name, sentence)


def _decoded(record: Any) -> Alert | None:
    try:
        return msgspec.json.decode(record.value or b"", type=Alert)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
