"""Notifies citizens who asked for it when the case of their report changes its state.

Each person is on their own: who cannot be reached is tried again later while others are notified.
The offset in Kafka moves to the first case that somebody still has to be notified of, so a crash
loses nothing and may send a few things twice.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from alerts.deliveries.backoff import Patience, pause_s
from alerts.deliveries.case_notices import Contact, contacts
from alerts.deliveries.citizen_senders import CitizenSenders
from alerts.deliveries.delivery import GiveUp
from alerts.deliveries.figures import Figures
from alerts.deliveries.log_reader import LogReader, Stopped
from alerts.deliveries.outcomes import Refused, TryAgain
from alerts.deliveries.people import People
from civicstream.clock import wall_ms
from civicstream.errors import (
    ConfigurationError,
    DataError,
    OwnershipLost,
    ServerUnavailable,
)
from civicstream.kafka.log_gaps import gap_record
from civicstream.kafka.transactional import Outgoing
from civicstream.personal import PrivateKeys
from civicstream.service_events import Case

__all__ = ["NAME", "CitizenNews"]

log = logging.getLogger(__name__)

NAME = "citizens"
_AT_ONCE = 4
_MOST_WAITING = 1_000
"""Backpressure: with more than this nothing more is read until some are notified."""

Key = tuple[str, Contact | int]


@dataclass
class _Item:
    """A case of which a contact is to be notified; without one, whom is still to be found."""

    case: Case
    record: Any
    contact: Contact | None
    patience: Patience
    due_ms: float = 0.0
    attempt: int = 0

    @property
    def key(self) -> Key:
        return self.case.id, self.case.version if self.contact is None else self.contact


class CitizenNews(threading.Thread):
    """Reads the cases; finds whom each change concerns; notifies them."""

    def __init__(
        self,
        people: People,
        keys: PrivateKeys,
        senders: CitizenSenders,
        open_reader: Callable[[], LogReader],
        give_up: GiveUp,
        keep: Callable[[list[Outgoing]], None],
        prefix: str,
        stop: threading.Event,
        patience_s: float,
    ) -> None:
        super().__init__(name=f"deliver-{NAME}")
        self.figures = Figures(NAME)
        self._people, self._keys, self._senders = people, keys, senders
        self._open_reader, self._give_up, self._stop_event = open_reader, give_up, stop
        self._keep, self._prefix, self._patience_s = keep, prefix, patience_s
        self._pool = ThreadPoolExecutor(_AT_ONCE, "citizen")
        self._waiting: dict[Key, _Item] = {}
        self._flying: dict[Key, tuple[_Item, Future[None]]] = {}
        self._next = self._committed = 0
        self._rng = random.Random()

    def run(self) -> None:
        try:
            with self._pool:
                while not self._stop_event.is_set():
                    try:
                        self._with_reader()
                    except Stopped:
                        return
                    except (ServerUnavailable, ConfigurationError) as error:
                        log.warning("citizens: waiting: %s", error)
                        self._stop_event.wait(pause_s(2, self._rng))
                    self.figures.ready = False
        finally:
            self._people.close()
            self._senders.close()

    def _with_reader(self) -> None:
        reader = self._open_reader()
        try:
            while True:
                try:
                    self._begin(reader)
                    while True:
                        self._turn(reader)
                except OwnershipLost as error:
                    log.info("citizens: %s", error)
                    self.figures.ready = False
        finally:
            reader.close()

    def _begin(self, reader: LogReader) -> None:
        """Go on where the group left off; a new one begins with what happens from now on."""
        self._waiting.clear()
        committed, gap = reader.wait_for_partition()
        self._next = reader.ends()[1] if committed is None else committed
        reader.begin(self._next)
        self._keep(reader.identity())
        if gap is not None:
            self._keep([gap_record(self._prefix, gap, f"deliver/{NAME}")])
            self.figures.log_gaps += 1
        if committed is None or gap is not None:
            reader.commit(self._next)
        self._committed = self._next
        self.figures.read = reader.read(NAME)
        self.figures.ready = True

    def _turn(self, reader: LogReader) -> None:
        if len(self._waiting) < _MOST_WAITING:
            for record in reader.poll():
                reader.count(record, corrupt=not self._note(record))
            if missing := reader.missing(f"deliver/{NAME}"):
                self._keep(missing)
                reader.commit(self._committed)
            self.figures.read = reader.read(NAME)
        else:
            reader.idle(0.2)
        self._land()
        reader.prove(self._committed)
        now = wall_ms()
        for item in [i for i in self._waiting.values() if i.due_ms <= now]:
            if self._waiting.get(item.key) is not item:
                continue  # a newer one has just taken its place
            if item.contact is None:
                if not self._comes_after_another(item):
                    self._find(item)
            else:
                self._try(item, item.contact)
        self._commit(reader)

    def _try(self, item: _Item, contact: Contact) -> None:
        """Begin an attempt, or wait while the contact is being notified of something earlier.

        A newer state makes an older one that waits superfluous.
        """
        if item.key in self._flying:
            self._waiting[item.key] = item
            return
        self._waiting.pop(item.key, None)
        self.figures.attempts += 1
        self._flying[item.key] = item, self._pool.submit(self._senders.send, item.case, contact)

    def _note(self, record: Any) -> bool:
        """Take the record in; return whether it can be read."""
        self._next = record.offset + 1
        try:
            case = msgspec.json.decode(record.value or b"", type=Case)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False  # the sink has made a dead letter of it
        if case.version > 1:  # who made the first version knows of it
            patience = Patience(record.timestamp, wall_ms(), self._patience_s)
            item = _Item(case, record, None, patience)
            self._waiting[item.key] = item
        return True

    def _comes_after_another(self, item: _Item) -> bool:
        """Whether an earlier version of the case is still to be looked up: order is kept."""
        return any(
            other.contact is None
            and other.case.id == item.case.id
            and other.case.version < item.case.version
            for other in self._waiting.values()
        )

    def _find(self, item: _Item) -> None:
        """Replace the item by one for each contact, once the sink has stored the version."""
        case = item.case
        changed = self._people.changed(case.id, case.version)
        if changed is None:
            self._later(item, "the sink has not stored the case yet", 0.0)
            return
        del self._waiting[item.key]
        if not changed:
            return
        for contact in contacts(self._opened(case)):
            self._try(_Item(case, item.record, contact, item.patience), contact)

    def _opened(self, case: Case) -> list[tuple[str, dict[str, Any]]]:
        found = []
        for report, sealed in self._people.sealed(case.id, case.version):
            try:
                found.append((report, msgspec.json.decode(self._keys.unseal(sealed), type=dict)))
            except (DataError, msgspec.DecodeError) as error:
                log.warning("report %s: whom to tell is not known: %s", report, error)
        return found

    def _land(self) -> None:
        """Take note of the attempts that have ended."""
        for key, (item, sent) in list(self._flying.items()):
            if not sent.done():
                continue
            try:
                sent.result()
            except Refused as error:
                self._lose(item, "delivery_refused", str(error))
            except TryAgain as error:
                self._later(item, str(error), error.after_s)
            else:
                self.figures.delivered += 1
            del self._flying[key]

    def _later(self, item: _Item, why: str, after_s: float) -> None:
        now = wall_ms()
        if item.patience.over(now):
            self._waiting.pop(item.key, None)
            self._lose(item, "delivery_timed_out", why)
            return
        item.due_ms = now + 1000 * max(pause_s(item.attempt, self._rng), after_s)
        item.attempt += 1
        self._waiting.setdefault(item.key, item)

    def _lose(self, item: _Item, reason: str, why: str) -> None:
        reports = f", report {', '.join(item.contact.reports)}" if item.contact else ""
        case = f"case {item.case.id!r} version {item.case.version}"
        self._give_up(reason, f"citizen of {case}{reports}: {why}", item.record)
        self.figures.failed += 1

    def _commit(self, reader: LogReader) -> None:
        open_items = [*self._waiting.values(), *(item for item, _ in self._flying.values())]
        done = min((item.record.offset for item in open_items), default=self._next)
        if done != self._committed:
            reader.commit(done)
            self._committed = done
        oldest = min((item.patience.first_tried_ms for item in open_items), default=None)
        self.figures.waiting_since_ms = oldest
        self.figures.lag_records = reader.lag(done)
