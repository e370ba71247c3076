"""What the sink publishes: dead letters and gap alerts, confirmed; ledger reports, when it can.

And the null record that has a person forgotten.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from typing import Any

from kafka.errors import KafkaError

from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.errors import ServerUnavailable
from civicstream.events import DeadLetter, LedgerReport
from civicstream.kafka.clients import confirming_producer, producer
from civicstream.kafka.dead_letter import dead_letter_record
from civicstream.kafka.ledger_report import LedgerReporter
from civicstream.kafka.sequences import Gap, missing_record
from civicstream.settings import Settings
from civicstream.topics import topic_name
from sinks.personal_records import BY, UNTIL, Forget

__all__ = ["Outbox", "delete_from_kafka"]

log = logging.getLogger(__name__)

_CONFIRM_S = 15
"""How long to wait for Kafka's confirmation before the transaction is given up and tried again."""

_FORGETTER = f"forget/{socket.gethostname()}"


class Outbox:
    """A producer for the few records the sink writes itself."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.kafka.topic_prefix
        self._dead_letters = topic_name(self._prefix, "deadletter")
        self._producer = confirming_producer(
            settings.kafka, _CONFIRM_S, writer=f"sink/{settings.sink.id}"
        )
        self._reporter = LedgerReporter(settings.kafka, self._producer)

    def announce(self, dead_letters: Sequence[DeadLetter], gaps: Sequence[Gap]) -> None:
        """Publish and return when all are confirmed; raise ServerUnavailable if they are not.

        Called again after a failure: the ids are the same, so consumers recognise a repeat.
        """
        try:
            futures = [self._send_dead_letter(dead_letter) for dead_letter in dead_letters]
            futures += [self._send_gap(gap) for gap in gaps]
            for future in futures:
                future.get(timeout=_CONFIRM_S)
        except KafkaError as error:
            raise ServerUnavailable(
                f"Kafka did not confirm {len(dead_letters)} dead letters and {len(gaps)} alerts: "
                f"{error!r}"
            ) from error
        for dead_letter in dead_letters[:3]:
            log.warning("dead letter: %s (%s)", dead_letter.detail, dead_letter.reason)
        if len(dead_letters) > 3:
            log.warning("and %d more dead letters", len(dead_letters) - 3)

    def _send_dead_letter(self, dead_letter: DeadLetter) -> Any:
        # Of the stage, not of this sink: what another one writes again is the same dead letter.
        record = dead_letter_record(dead_letter, "sink")
        return self._producer.send(
            self._dead_letters, key=record.key, value=record.value, headers=record.headers
        )

    def _send_gap(self, gap: Gap) -> Any:
        made = missing_record(self._prefix, gap, "sink")
        return self._producer.send(made.topic, key=made.key, value=made.value, headers=made.headers)

    def report(self, report: LedgerReport, *, last: bool = False) -> None:
        """Publish a ledger report when it is due, or the ``last``."""
        self._reporter.send(report, last=last)

    def close(self) -> None:
        """Send what waits and close."""
        try:
            self._producer.flush(timeout=5)
        except KafkaError as error:
            log.warning("last ledger report not confirmed: %r", error)
        self._producer.close(timeout=5)


def delete_from_kafka(settings: Settings, topic: str, what: Forget) -> None:
    """Publish the null record and return when it is confirmed, else raise ServerUnavailable."""
    at = now_ms()
    headers = cloud_headers(
        "forget",
        source="forget",
        event_id=f"{what.pseudonym}/{what.until}",
        time_ms=at,
        subject=what.pseudonym,
    )
    headers += [(UNTIL, str(what.until).encode()), (BY, what.by.encode())]
    try:
        sender = producer(settings.kafka, writer=_FORGETTER, max_block_ms=_CONFIRM_S * 1000)
        try:
            sender.send(topic, key=what.pseudonym.encode(), value=None, headers=headers).get(
                timeout=_CONFIRM_S
            )
        finally:
            sender.close(timeout=5)
    except KafkaError as error:
        raise ServerUnavailable(
            f"Kafka at {settings.kafka.bootstrap} did not confirm, nothing was erased: {error!r}; "
            "run it again"
        ) from error
