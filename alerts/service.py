"""The alert process: results, cases and decisions from Kafka in, versions of alerts out.

::

    the group gives us the task? ─ fence whoever had it ─ read the state ─ read back by the rules'
        ┌───────────────────────────────────────────────── memory what the state has taken in
        ├─ what comes            versions, state and positions in one transaction
        ├─ every second          what follows from the clock, the same way
        └─ rules changed, fenced, Kafka away, a log shorter than read?   begin again from the state
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from kafka import TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from alerts.alert_input import AlertInput, Placed, Received, topic_memory
from alerts.alert_output import AlertOutput, Version
from alerts.engine.alert_state import read
from alerts.engine.engine import AlertEngine
from alerts.engine.patience import patient, result_age_ms
from alerts.engine.places import Places
from alerts.rules.rules_watch import RulesWatch
from alerts.rules.sources import SOURCES
from civicstream.city import City
from civicstream.clock import city_clock, now_ms, wall_ms
from civicstream.errors import Fenced, LogShortened, OwnershipLost, ServerUnavailable
from civicstream.events import Alert, LedgerReport
from civicstream.geojson import read_city
from civicstream.kafka.clients import wait_for_kafka
from civicstream.kafka.log_gaps import Position
from civicstream.kafka.reader import GroupReader
from civicstream.kafka.sequences import ReadAccount, received
from civicstream.kafka.transactional import Outgoing
from civicstream.retry import ThrottledLog, pauses
from civicstream.service_events import Action
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from civicstream.topics import topic_name

__all__ = ["run"]

log = logging.getLogger(__name__)

_POLL_MS = 500
_EVERY_S = 1.0
# Longer behind the ends of the topics, or without a ledger report, nothing is called absent.
_BEHIND_S = 10.0
_LATENCIES = 2_000

_DECODERS = {name: msgspec.json.Decoder(source.event) for name, source in SOURCES.items()}
_DECODERS["actions"] = msgspec.json.Decoder(Action)
_PROVISIONAL = b'"status":"provisional"'


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Raise alerts until ``stop`` is set (default: SIGINT, SIGTERM).

    Raise ConfigurationError for wrong rules or city model; wait for a Kafka that is away.
    """
    until = stop or stop_on_signals()
    rules = RulesWatch(settings.alerts.rules_file)
    city = read_city(settings.city.file) if settings.city.file else City()
    wait_for_kafka(settings.kafka, stop=until)
    process = _Process(settings, until, rules, Places.of_city(city))
    try:
        process.run()
    finally:
        process.close()


class _Process:
    """The loop and what it holds; without an engine it stands by."""

    def __init__(
        self, settings: Settings, stop: threading.Event, rules: RulesWatch, places: Places
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._rules = rules
        self._places = places
        self._result_age_ms = result_age_ms(settings.windows, city_clock())
        self._output = AlertOutput(settings)
        self._group: GroupReader | None = None
        self._input: AlertInput | None = None
        self._engine: AlertEngine | None = None
        self._placed: dict[TopicPartition, Placed] = {}
        self._read: dict[TopicPartition, Position] = {}
        """How far each partition was read since the last commit."""
        self._newest: dict[TopicPartition, Position] = {}
        """How far each partition was read."""
        self._accounts: dict[TopicPartition, ReadAccount] = {}
        """Which of the writers' numbers have come."""
        self._refused: tuple[TopicPartition, int] | None = None
        """The newest record that became a dead letter."""
        self._dead_letters: list[Outgoing] = []
        self._catching_up = False
        self._store_ids: dict[str, Any] = {}
        self._at_end: dict[TopicPartition, float] = {}
        self._answered_at = 0.0
        self._turn_at = 0.0
        self._epoch = wall_ms()
        self._latency_ms: deque[int] = deque(maxlen=_LATENCIES)
        self._counts = {"versions": 0.0, "unreadable_events": 0.0, "log_gaps": 0.0}

    def run(self) -> None:
        away, waits = ThrottledLog(log), pauses(0.25, 2.0)
        while not self._stop.is_set():
            try:
                self._turn()
            except Fenced as error:
                log.warning("another process raises the alerts now: %s", error)
                self._leave()
            except (LogShortened, OwnershipLost) as error:
                log.warning("beginning anew from the state: %s", error)
                self._stand_by()
            except ServerUnavailable as error:
                away.warning("away", "%s; nothing is lost, trying again", error)
                self._stand_by()
                self._stop.wait(next(waits))
            else:
                if self._engine is not None:
                    away.over("Kafka answers")
                    waits = pauses(0.25, 2.0)
        self._last_commit()

    def _last_commit(self) -> None:
        if self._engine is not None and not self._catching_up:
            try:
                self._commit([])
            except (ServerUnavailable, OwnershipLost) as error:
                log.warning("the next start reads the last second again: %s", error)

    def _turn(self) -> None:
        if not self._has_the_task():
            self._stand_by()
        elif self._engine is None:
            self._begin()
        else:
            tick_in_ms = int(1000 * (self._turn_at + _EVERY_S - time.monotonic()))
            records = self._reader().poll(max(0, min(_POLL_MS, tick_in_ms)))
            if records:
                self._receive(records)
            if self._catching_up and self._reached():
                self._catching_up = False
        if time.monotonic() - self._turn_at >= _EVERY_S:
            self._turn_at = time.monotonic()
            self._every_second()

    def _has_the_task(self) -> bool:
        """Whether the group has given us the state store's only partition.

        A newcomer does not take it away (the assignment is sticky). One who was cut off may
        believe to have it still: then Kafka refuses the next transaction.
        """
        if self._group is None:
            settings = self._settings
            self._group = GroupReader(
                settings.kafka,
                [topic_name(settings.kafka.topic_prefix, "state.alerts")],
                group=settings.alerts.group,
                client_id=settings.alerts.id,
                partition_assignment_strategy=[CooperativeStickyAssignor],
            )
        self._group.poll(0 if self._engine is not None else _POLL_MS)
        if not self._group.assigned():
            return False
        if self._group.take_changes() and self._group.topic_ids() != self._store_ids:
            self._stand_by()
        return True

    def _reader(self) -> AlertInput:
        if self._input is None:
            self._input = AlertInput(self._settings)
        return self._input

    def _stand_by(self) -> None:
        """Forget everything: whoever has the task goes on from the state."""
        if self._engine is not None:
            log.info("standing by")
        self._engine, self._catching_up = None, False
        self._read.clear()
        self._accounts.clear()
        self._dead_letters.clear()
        self._output.suspend()
        if self._input is not None:
            self._input.hold()

    def _leave(self) -> None:
        """Join the group as a new member: what it says of the old one may be long past."""
        self._stand_by()
        group, self._group = self._group, None
        if group is not None:
            group.close()

    def _begin(self) -> None:
        """Go on where the last transaction ended, whoever made it."""
        assert self._group is not None  # noqa: S101 - for the type checker
        rules, reader = patient(self._rules.rules, self._result_age_ms), self._reader()
        self._store_ids = self._group.topic_ids()
        items, positions, accounts = self._output.open(self._stop)
        engine = AlertEngine(rules, self._places, city_clock())
        if items:
            engine.restore(read(items))
        else:
            published = self._output.published(self._stop)
            engine.replay([a for a, _ in published], [c for _, c in published if c is not None])
        memory = topic_memory(self._settings, rules, all_known=not engine.new_rules)
        placed = reader.place(positions, wall_ms(), memory)
        for records in reader.read_back(placed):
            if self._stop.is_set() or not self._has_the_task():
                return
            for record in records:
                event = self._event(engine, record)
                if event is not None:
                    engine.observe(record.topic, event)
        made = engine.resume(now_ms())
        self._engine, self._placed, self._catching_up = engine, placed, True
        # At once, also of what nobody has read yet: what comes from now on is news.
        self._newest = {p: at.live for p, at in placed.items()}
        self._read = {p: at for p, at in self._newest.items() if positions.get(p) != at}
        self._accounts = {
            p: accounts.get(p) or ReadAccount(begin=at.live.next_offset) for p, at in placed.items()
        }
        for partition, account in self._accounts.items():
            account.cut(placed[partition].live.next_offset)
        gaps = [at.gap for at in placed.values() if at.gap is not None]
        for gap in gaps:
            log.error("%s", gap)
        self._commit(made, gaps)
        self._counts["log_gaps"] += len(gaps)
        log.info("%d rules, %d active alerts", len(rules), engine.active_count)

    def _reached(self) -> bool:
        """Whether everything that was there at the beginning has been read."""
        reader = self._reader()
        return all(reader.position(p) >= at.target for p, at in self._placed.items())

    def _receive(self, records: list[Received]) -> None:
        """Take records in, and publish what follows from all of them at once."""
        engine = self._engine
        assert engine is not None  # noqa: S101 - for the type checker
        made: list[Version] = []
        oldest: int | None = None
        for record in records:
            found = self._take(engine, record)
            made += found
            self._note_read(record)
            if found and not self._catching_up:
                oldest = min(oldest or record.timestamp, record.timestamp)
            if record.topic == "ledger":
                self._answered_at = max(self._answered_at, record.timestamp / 1000)
        if made:
            self._commit_versions(made)
        if oldest is not None:
            self._latency_ms.append(wall_ms() - oldest)

    def _note_read(self, record: Received) -> None:
        place, refused = record.partition, self._refused
        corrupt = refused == (place, record.offset)
        number = received(place.topic, place.partition, record.headers, corrupt=corrupt)
        self._accounts[place].take(record.offset, number)
        before = self._newest[place]
        newest_ms = max(record.appended_ms, before.newest_ms)
        at = Position(record.offset + 1, before.topic_id, newest_ms)
        self._read[place] = self._newest[place] = at

    def _take(self, engine: AlertEngine, record: Received) -> list[Version]:
        event = self._event(engine, record)
        if event is None:
            return []
        cause = event.id if record.topic == "actions" else None
        try:
            return [(alert, cause) for alert in engine.apply(record.topic, event, now_ms())]
        except Exception as error:
            # A defect of ours: without this the next start would meet the same event and end too.
            self._refuse(engine, record, "internal_error", f"{type(error).__name__}: {error}")
            log.exception("a defect of the alerts, please report it")
            return []

    def _event(self, engine: AlertEngine, record: Received) -> Any:
        """Return the event; None where no rule looks at it or it cannot be read."""
        if record.topic != "actions" and record.topic not in engine.rules.sources:
            return None
        if _PROVISIONAL in record.value[:400]:
            return None
        try:
            return _DECODERS[record.topic].decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._refuse(engine, record, "undecodable", str(error))
            return None

    def _refuse(self, engine: AlertEngine, record: Received, reason: str, why: str) -> None:
        """Make a dead letter, unless an earlier life has made it."""
        if self._engine is not engine:
            return
        self._counts["unreadable_events"] += 1
        self._refused = record.partition, record.offset
        self._dead_letters.append(self._output.dead_letter(record, why, reason))
        log.warning(
            "%s partition %d offset %d is a dead letter: %s",
            record.topic,
            record.partition.partition,
            record.offset,
            why,
        )

    def _commit(self, made: Iterable[Alert], gaps: Iterable[Any] = ()) -> None:
        self._commit_versions([(alert, None) for alert in made], gaps)

    def _commit_versions(self, versions: list[Version], gaps: Iterable[Any] = ()) -> None:
        """Publish, with all that has changed since the last time; raise as AlertOutput.commit."""
        assert self._engine is not None  # noqa: S101 - for the type checker
        items = self._engine.take_changes()
        read = {place: (at, self._accounts[place]) for place, at in self._read.items()}
        self._output.commit(versions, items, read, list(gaps), self._dead_letters)
        self._read.clear()
        self._dead_letters.clear()
        self._counts["versions"] += len(versions)

    def _every_second(self) -> None:
        lag = self._input.lag() if self._engine is not None and self._input is not None else {}
        if self._engine is not None and not self._catching_up:
            self._look_at_topic_ids()
            caught_up = self._caught_up(lag)
            made = self._engine.tick(now_ms(), machine_ms=wall_ms(), caught_up=caught_up)
            self._commit(made)
            if self._rules.changed():
                self._stand_by()
        elif self._engine is not None:
            self._commit([])
        self._output.report(self._report(sum(lag.values())))

    def _look_at_topic_ids(self) -> None:
        """Raise LogShortened for a topic that was deleted and made again under our hands."""
        reader = self._reader()
        for partition, at in self._placed.items():
            now = reader.topic_id(partition.topic)
            if now and at.live.topic_id and now != at.live.topic_id:
                raise LogShortened(f"topic {partition.topic} was made again")

    def _caught_up(self, lag: dict[TopicPartition, int]) -> bool:
        """Whether what has not come is truly absent: Kafka answers and nothing waits long."""
        now = time.monotonic()
        for partition, waiting in lag.items():
            if waiting == 0 or partition not in self._at_end:
                self._at_end[partition] = now
        behind = any(now - self._at_end[p] > _BEHIND_S for p in lag)
        return not behind and wall_ms() / 1000 - self._answered_at < _BEHIND_S

    def _report(self, lag: int) -> LedgerReport:
        gauges = {
            "alerts_active": float(self._engine.active_count if self._engine else 0),
            "rules": float(len(self._rules.rules)),
            "lag_records": float(lag),
            "standby": float(self._engine is None),
            **self._counts,
        }
        if self._latency_ms:
            gauges["latency_p99_ms"] = float(np.percentile(self._latency_ms, 99))
        own = (self._settings.alerts.id, self._epoch, wall_ms())
        read = [s for account in self._accounts.values() for s in account.sequences()]
        read_to = [account.position(*place) for place, account in self._accounts.items()]
        return LedgerReport("alerts", *own, {}, gauges, read=read, read_to=read_to)

    def close(self) -> None:
        self._output.close()
        for client in (self._input, self._group):
            if client is not None:
                client.close()
