"""Whether what is shown is of now: which stage of the data's way has stopped, and since when.

Facts from Kafka and the database go in with the time at which they were seen [ms]; nothing here
reads a clock or a server.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from civicstream.events import LedgerReport

__all__ = ["QUIET_MS", "DataStatus", "FlowState", "Partition", "StatusWatch"]

FlowState = Literal[
    "starting",
    "live",
    "delayed",
    "no readings",
    "no results",
    "sink not writing",
    "database not answering",
    "Kafka not answering",
]

Partition = tuple[str, int]
"""Kafka topic and number of a partition."""

QUIET_MS = 30_000
"""What should come every second is missed after this long; records older than this are late."""

_MARK_EVERY_MS = 2_000


class DataStatus(msgspec.Struct, frozen=True):
    """``since`` [epoch ms] is when the state began; ``detail`` says all that is wrong."""

    state: FlowState
    since: int
    detail: str
    figures: dict[str, float]


@dataclass(frozen=True)
class _Problem:
    state: FlowState
    since: int
    sentence: str


@dataclass
class _Stage:
    """The ledger reports of one stage's processes."""

    last_report: int
    newest: dict[str, LedgerReport] = field(default_factory=dict)
    samples: deque[tuple[int, float, int]] = field(default_factory=deque)
    """Time [ms], records not read yet, readings accepted; of the last ``QUIET_MS``."""
    grew: int | None = None
    """When readings were last accepted …"""
    flowing_since: int = 0
    """… and since when without a pause."""

    def add(self, report: LedgerReport, now: int) -> None:
        self.last_report = now
        self.newest[report.instance] = report
        accepted = sum(c.accepted for r in self.newest.values() for c in r.kinds.values())
        if self.samples and accepted > self.samples[-1][2]:
            if self.grew is None or now - self.grew > QUIET_MS:
                self.flowing_since = now
            self.grew = now
        self.samples.append((now, self.lag, accepted))
        while self.samples[0][0] < now - QUIET_MS:
            self.samples.popleft()

    @property
    def lag(self) -> float:
        return sum(report.gauges.get("lag_records", 0.0) for report in self.newest.values())

    def falls_behind(self, now: int) -> bool:
        """Return whether all of the newer half of the samples are above all of the older."""
        middle = now - QUIET_MS // 2
        older = [lag for at, lag, _ in self.samples if at < middle]
        newer = [lag for at, lag, _ in self.samples if at >= middle]
        covered = bool(self.samples) and now - self.samples[0][0] > 0.8 * QUIET_MS
        return covered and bool(older and newer) and min(newer) > max(older)

    def flows(self, now: int) -> bool:
        return self.grew is not None and now - self.grew <= QUIET_MS


class StatusWatch:
    """Judges the way from gateway to database; ``started`` [ms]: nothing was known before.

    ``results_within_ms`` after a reading a result of its window must have come.
    Thread-safe: Kafka is read on one thread, the database on another.
    """

    def __init__(self, started: int, results_within_ms: int) -> None:
        self._started = started
        self._results_within_ms = results_within_ms
        self._stages: dict[str, _Stage] = {}
        self._kafka_at = self._result_at = self._stored_at = self._advanced_at = started
        self._stored: dict[Partition, int] = {}
        self._due: dict[Partition, int] = {}
        self._marks: dict[Partition, deque[tuple[int, int]]] = {}
        self._last: DataStatus | None = None
        self._lock = threading.Lock()

    def report(self, report: LedgerReport, now: int) -> None:
        """Take a ledger report in."""
        with self._lock:
            self._kafka_at = now
            stage = self._stages.setdefault(report.stage, _Stage(now))
            known = stage.newest.get(report.instance)
            if known is None or known.epoch <= report.epoch:
                stage.add(report, now)

    def read(self, partition: Partition, offset: int, now: int, *, result: bool) -> None:
        """Note that the record at ``offset`` is on Kafka; ``result``: a window's."""
        with self._lock:
            self._kafka_at = now
            if result:
                self._result_at = now
            marks = self._marks.setdefault(partition, deque())
            if not marks or now - marks[-1][0] >= _MARK_EVERY_MS:
                marks.append((now, offset))
            else:
                marks[-1] = (marks[-1][0], offset)
            while len(marks) > 1 and marks[1][0] <= now - QUIET_MS:
                marks.popleft()

    def due(self, offsets: Mapping[Partition, int]) -> None:
        """Take in, for topics that are not read here, the end of what is older than 30 s."""
        with self._lock:
            self._due |= offsets

    def stored(self, offsets: Mapping[Partition, int], now: int) -> None:
        """Take in the first offsets that are not in the database, as it says itself."""
        with self._lock:
            self._stored_at = now
            if any(offset != self._stored.get(at) for at, offset in offsets.items()):
                self._advanced_at = now
            self._stored = dict(offsets)

    def judge(self, now: int) -> DataStatus:
        """Return the state: the worst of what is wrong, nearest to the database first."""
        with self._lock:
            return self._judge(now)

    def _judge(self, now: int) -> DataStatus:
        problems = list(self._problems(now))
        if problems:
            state, since = problems[0].state, problems[0].since
            detail = " ".join(problem.sentence for problem in problems)
        elif {"gateway", "worker", "sink"} <= self._stages.keys():
            state, since, detail = "live", now, "Readings are computed and stored within seconds."
        else:
            state, since, detail = "starting", self._started, "Not every stage has reported yet."
        if self._last is not None and self._last.state == state:
            since = self._last.since
        self._last = DataStatus(state, since, detail, self._figures(now))
        return self._last

    def _problems(self, now: int) -> Iterator[_Problem]:
        if now - self._kafka_at > QUIET_MS:
            words = "Nothing comes from Kafka, not even the ledger, which comes every second."
            yield _Problem("Kafka not answering", self._kafka_at, words)
            return  # of the stages nothing is known
        if now - self._stored_at > QUIET_MS:
            words = "The database does not answer; what is older than a page is not shown."
            yield _Problem("database not answering", self._stored_at, words)
        yield from self._of_sink(now)
        yield from self._of_worker(now)
        if (since := self._silent_since("gateway", now)) is not None:
            words = "No gateway reports: readings wait at the MQTT broker."
            yield _Problem("no readings", since, words)

    def _of_sink(self, now: int) -> Iterator[_Problem]:
        waiting = self._unstored(now)
        if (since := self._silent_since("sink", now)) is not None:
            words = "The sink does not report: what happens now is not in the database yet."
            yield _Problem("sink not writing", since, words)
        elif waiting and now - self._advanced_at > QUIET_MS:
            words = f"The sink stores nothing: {_records(waiting)} older than 30 s."
            yield _Problem("sink not writing", self._advanced_at, words)
        elif waiting:
            words = f"The database is behind: {_records(waiting)} older than 30 s."
            yield _Problem("delayed", now - QUIET_MS, words)

    def _of_worker(self, now: int) -> Iterator[_Problem]:
        worker, gateway = self._stages.get("worker"), self._stages.get("gateway")
        if (since := self._silent_since("worker", now)) is not None:
            words = "The worker does not report: no traffic, incidents or cases are computed."
            yield _Problem("no results", since, words)
            return
        if gateway is not None and gateway.flows(now):
            last = max(self._result_at, gateway.flowing_since)
            if now - last > self._results_within_ms:
                yield _Problem("no results", last, "Readings come in, but no results of them.")
        if worker is not None and worker.falls_behind(now):
            words = f"The worker falls behind: {worker.lag:,.0f} records wait, more every second."
            yield _Problem("delayed", now - QUIET_MS, words)

    def _silent_since(self, name: str, now: int) -> int | None:
        """Return since when the stage has not reported; None while it does."""
        stage = self._stages.get(name)
        since = self._started if stage is None else stage.last_report
        return since if now - since > QUIET_MS else None

    def _unstored(self, now: int) -> dict[Partition, int]:
        """Return how many records older than 30 s are not in the database, by partition."""
        due = dict(self._due)
        for at, marks in self._marks.items():
            # The sink may keep nothing of a topic (the ledger); then it has no offset of it.
            old = [offset for time, offset in marks if time <= now - QUIET_MS]
            if old and at in self._stored:
                due[at] = old[-1] + 1
        waiting = {at: end - self._stored.get(at, 0) for at, end in due.items()}
        return {at: count for at, count in waiting.items() if count > 0}

    def _figures(self, now: int) -> dict[str, float]:
        figures: dict[str, float] = {"unstored_records": sum(self._unstored(now).values())}
        for name in ("gateway", "worker", "sink"):
            if (stage := self._stages.get(name)) is not None:
                figures[f"{name}_silent_s"] = (now - stage.last_report) // 1000
                figures[f"{name}_lag_records"] = stage.lag
        figures["last_result_s"] = (now - self._result_at) // 1000
        figures["last_stored_s"] = (now - self._advanced_at) // 1000
        return figures


def _records(waiting: Mapping[Partition, int]) -> str:
    """Return e.g. ``1,204 records wait (city.frames.noise and 2 more topics)``."""
    topics = sorted({topic for topic, _ in waiting}, key=lambda t: -_of_topic(waiting, t))
    more = f" and {len(topics) - 1} more topics" if len(topics) > 1 else ""
    return f"{sum(waiting.values()):,} records wait ({topics[0]}{more})"


def _of_topic(waiting: Mapping[Partition, int], topic: str) -> int:
    return sum(count for (name, _), count in waiting.items() if name == topic)
