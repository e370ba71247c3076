"""The alert process: results, cases and decisions from Kafka in, versions of alerts out.

::

    assigned? ─ read the alerts back ─ go back by the rules' memory ─┐
        ┌────────────────────────────────────────────────────────────┘
        ├─ before the last commit   take in, publish nothing: it was published
        ├─ after it                 publish, confirmed, then commit
        ├─ at the end of then       settle: raise and clear what the present asks for
        └─ rules changed?           commit and begin anew with them
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import numpy as np
from kafka import TopicPartition

from civicstream.city import City
from civicstream.clock import now_ms, wall_ms
from civicstream.errors import ServerUnavailable
from civicstream.events import LedgerReport
from civicstream.geojson import read_city
from civicstream.kafka.clients import wait_for_kafka
from civicstream.service_events import Action
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from streams.alerts.alert_input import AlertInput, Placed, Received, topic_memory
from streams.alerts.alert_output import AlertOutput, Version, read_versions
from streams.alerts.engine import AlertEngine
from streams.alerts.places import Places
from streams.alerts.rules_watch import RulesWatch
from streams.alerts.sources import SOURCES

__all__ = ["run"]

log = logging.getLogger(__name__)

_POLL_MS = 100
_EVERY_S = 1.0
_LONGEST_PAUSE_S = 5.0
# Longer behind the ends of the topics, or without a ledger report, nothing is called absent.
_BEHIND_S = 10.0
_LATENCIES = 2_000

_Made = TypeVar("_Made")

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
    if _patiently(until, lambda: _kafka_answers(settings)) is None:
        return
    input_ = _patiently(until, lambda: AlertInput(settings))
    if input_ is None:
        return
    output = AlertOutput(settings)
    try:
        _Process(settings, until, rules, Places.of_city(city), input_, output).run()
    finally:
        input_.close()
        output.close()


def _kafka_answers(settings: Settings) -> bool:
    wait_for_kafka(settings.kafka, timeout_s=0)
    return True


def _patiently(stop: threading.Event, make: Callable[[], _Made]) -> _Made | None:
    """Repeat ``make`` until it does not raise ServerUnavailable; None if stopped before."""
    pause_s = 0.25
    while not stop.is_set():
        try:
            return make()
        except ServerUnavailable as error:
            log.warning("waiting: %s", error)
            stop.wait(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
    return None


class _Process:
    """The loop and what it holds; without an engine it stands by."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        rules: RulesWatch,
        places: Places,
        input_: AlertInput,
        output: AlertOutput,
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._rules = rules
        self._places = places
        self._input = input_
        self._output = output
        self._engine: AlertEngine | None = None
        self._placed: dict[TopicPartition, Placed] = {}
        self._next: dict[TopicPartition, tuple[int, int]] = {}
        """Next offset of each partition, and the time of the record before it."""
        self._catching_up = False
        self._at_end: dict[TopicPartition, float] = {}
        self._heard_at = 0.0
        self._turn_at = 0.0
        self._epoch = wall_ms()
        self._latency_ms: deque[int] = deque(maxlen=_LATENCIES)
        self._counts = {"versions": 0.0, "unreadable_events": 0.0}

    def run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
            except ServerUnavailable as error:
                log.warning("%s; nothing is lost, trying again", error)
                self._stop.wait(0.5)
        if self._engine is not None and not self._catching_up:
            try:
                self._commit()
            except ServerUnavailable as error:
                log.warning("the next start reads the last second again: %s", error)

    def _turn(self) -> None:
        records = self._input.poll(_POLL_MS)
        if self._input.take_rebalanced():
            self._stand_by()
        elif self._engine is not None and records:
            self._receive(records)
        if self._engine is None and self._input.assigned():
            self._begin()
        if self._catching_up and self._reached():
            self._catching_up = False
            self._settle()
        if time.monotonic() - self._turn_at >= _EVERY_S:
            self._turn_at = time.monotonic()
            self._every_second()

    def _stand_by(self) -> None:
        """Forget everything: whoever has the partitions goes on from the topics."""
        self._engine = None
        self._catching_up = False
        self._next.clear()
        log.info("partitions changed: %d assigned now", len(self._input.assigned()))

    def _begin(self) -> None:
        rules = self._rules.rules
        versions = read_versions(self._settings.kafka, self._stop)
        if self._stop.is_set():
            return
        engine = AlertEngine(rules, self._places)
        causes = [cause for _, cause in versions if cause is not None]
        owed = engine.restore([alert for alert, _ in versions], causes, now_ms())
        self._placed = self._input.place(wall_ms(), topic_memory(self._settings, rules.memory_ms))
        self._next.clear()
        self._engine, self._catching_up = engine, True
        log.info("%d rules, %d active alerts read back", len(rules), engine.active_count)
        self._publish([(alert, None) for alert in owed])

    def _reached(self) -> bool:
        """Whether everything that was there at the beginning has been read."""
        return all(self._input.position(p) >= at.target for p, at in self._placed.items())

    def _settle(self) -> None:
        assert self._engine is not None  # noqa: S101 - for the type checker
        if not self._publish([(alert, None) for alert in self._engine.settle(now_ms())]):
            return
        for partition in self._placed:  # also of those nobody has read: what comes now is news
            self._next.setdefault(partition, (self._input.position(partition), wall_ms()))
        log.info("caught up; %d alerts are active", self._engine.active_count)
        # Before anything more is taken in: a start without offsets would pass over what came since.
        self._commit()

    def _receive(self, records: list[Received]) -> None:
        """Take records in, and publish what follows from all of them at once."""
        made: list[Version] = []
        oldest: int | None = None
        for record in records:
            found = self._take(record)
            made += found
            if found and not self._catching_up:
                oldest = min(oldest or record.timestamp, record.timestamp)
            if record.topic == "ledger":
                self._heard_at = max(self._heard_at, record.timestamp / 1000)
        if not self._publish(made):
            return
        if oldest is not None:
            self._latency_ms.append(wall_ms() - oldest)
        for record in records:
            self._next[record.partition] = (record.offset + 1, record.timestamp)

    def _take(self, record: Received) -> list[Version]:
        engine = self._engine
        assert engine is not None  # noqa: S101 - for the type checker
        if record.topic != "actions" and record.topic not in engine.rules.sources:
            return []
        if _PROVISIONAL in record.value[:400]:
            return []
        try:
            event: Any = _DECODERS[record.topic].decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._counts["unreadable_events"] += 1
            log.warning(
                "%s partition %d offset %d is left out: %s",
                *(record.topic, record.partition.partition, record.offset, error),
            )
            return []
        if record.offset < self._placed[record.partition].live_from:
            engine.observe(record.topic, event)
            return []
        cause = event.id if record.topic == "actions" else None
        return [(alert, cause) for alert in engine.apply(record.topic, event, now_ms())]

    def _publish(self, versions: list[Version]) -> bool:
        """Publish until Kafka confirms, staying in the group; False if the partitions went."""
        pause_s = 0.1
        while versions:
            try:
                self._output.publish(versions)
                break
            except ServerUnavailable as error:
                log.warning("%s; trying again in %g s", error, pause_s)
            self._input.pause()
            if self._stop.wait(pause_s):
                self._stand_by()
                return False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            self._input.poll(_POLL_MS)
            if self._input.take_rebalanced():
                self._stand_by()
                return False
            self._input.resume()
        self._counts["versions"] += len(versions)
        return True

    def _every_second(self) -> None:
        lag = self._input.lag() if self._engine is not None else {}
        if self._engine is not None and not self._catching_up:
            caught_up = self._caught_up(lag)
            made = self._engine.tick(now_ms(), caught_up=caught_up)
            if self._publish([(alert, None) for alert in made]):
                self._commit()
                if self._rules.changed():
                    self._begin()
        self._output.report(self._report(sum(lag.values())))

    def _caught_up(self, lag: dict[TopicPartition, int]) -> bool:
        """Whether what has not come is truly absent: Kafka answers and nothing waits long."""
        now = time.monotonic()
        for partition, waiting in lag.items():
            if waiting == 0 or partition not in self._at_end:
                self._at_end[partition] = now
        behind = any(now - self._at_end[p] > _BEHIND_S for p in lag)
        return not behind and wall_ms() / 1000 - self._heard_at < _BEHIND_S

    def _commit(self) -> None:
        if self._engine is not None and self._next:
            following, self._next = self._next, {}
            try:
                self._input.commit(following)
            except ServerUnavailable:
                self._next = following | self._next
                raise

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
        return LedgerReport("alerts", self._settings.alerts.id, self._epoch, wall_ms(), {}, gauges)
