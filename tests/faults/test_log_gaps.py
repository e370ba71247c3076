"""Kafka's log is not what a part remembers of it: each notices, records the gap, and goes on.

What is missing here of the parts is in `test_sink_kafka_log.py`, `test_alerts_cut_off.py` and the
worker's and the alerts' tests of log gaps in `tests/integration`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from civicstream.kafka.log_gaps import Reason
from civicstream.kafka.topic_admin import create_topics
from stack.servers.processes import Child, wait_until
from tests.kit.deliver_runs import web_server
from tests.kit.log_broker import LogBroker
from tests.kit.log_readers import AlertsRead, DeliverReads, Gap, LogReader, SinkReads, WorkerReads

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(240)]

PARTS = {"sink": SinkReads, "worker": WorkerReads, "alerts": AlertsRead}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LogBroker]:
    made = LogBroker(tmp_path)
    made.start()
    create_topics(made.settings)
    yield made
    made.stop()


@pytest.fixture
def part(
    request: pytest.FixtureRequest, broker: LogBroker, postgres: str, tmp_path: Path
) -> Iterator[LogReader]:
    if request.param == "deliver":
        with web_server() as server:
            yield DeliverReads(broker.settings, tmp_path, server)
    else:
        yield PARTS[request.param](broker.settings, tmp_path, postgres)


def of(*parts: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("part", parts, indirect=True)


def log_gaps(part: LogReader) -> list[Gap]:
    """Return those of the log; the numbers of what is gone are missing too."""
    return [gap for gap in part.gaps() if gap[0] in get_args(Reason)]


def wait_seen(part: LogReader, count: int, child: Child) -> None:
    def enough() -> bool:
        assert child.alive(), child.last_words(2_000)
        return part.seen() >= count

    wait_until(enough, f"{count} events", timeout_s=60, every_s=0.5)


def send(part: LogReader, child: Child, count: int, *, total: int) -> None:
    """Send so many events to a part that runs; return when it has seen ``total`` of all."""
    part.send(count)
    wait_seen(part, total, child)


@of("sink", "alerts", "deliver")
def test_a_log_that_was_cut_and_has_grown_past_what_was_read_hides_nothing(
    part: LogReader, broker: LogBroker
) -> None:
    with part.running() as child:
        send(part, child, 5, total=5)
        broker.keep_copy(part.place)
        send(part, child, 5, total=10)
    broker.restore_copy(part.place)
    part.send(9)
    with part.running() as child:
        wait_seen(part, 19, child)
        assert "Kafka has lost its records from offset 5 to 10" in child.last_words(2_000)
    assert log_gaps(part) == [("log_truncated", 5, 5)]
    with part.running() as child:
        send(part, child, 1, total=20)
    assert log_gaps(part) == [("log_truncated", 5, 5)], "recorded once"


@of("sink", "worker", "alerts", "deliver")
def test_a_log_that_is_cut_and_grows_again_under_a_part_that_runs_hides_nothing(
    part: LogReader, broker: LogBroker
) -> None:
    with part.running() as child:
        send(part, child, 5, total=5)
        broker.keep_copy(part.place)
        send(part, child, 5, total=10)
        os.kill(child.pid, signal.SIGSTOP)
        try:
            broker.restore_copy(part.place)
            part.send(9)
        finally:
            os.kill(child.pid, signal.SIGCONT)
        wait_seen(part, 19, child)
        wait_until(lambda: len(log_gaps(part)) > 0, "the gap", timeout_s=30)
        send(part, child, 1, total=20)
        ((reason, first, missing),) = log_gaps(part)
    # Of what was read anew before it was noticed, the records that are there count too.
    assert (reason, first) == ("log_truncated", 5)
    assert 5 <= missing <= 14


@of("deliver")
def test_a_topic_that_is_made_anew_is_read_from_its_beginning(
    part: LogReader, broker: LogBroker
) -> None:
    with part.running() as child:
        send(part, child, 5, total=5)
    broker.make_anew(part.place.topic)
    part.send(7)
    with part.running() as child:
        wait_seen(part, 12, child)
    ((reason, _, _),) = log_gaps(part)
    assert reason == "topic_recreated"


@of("alerts", "deliver")
def test_records_that_were_deleted_before_they_were_read_are_a_gap(
    part: LogReader, broker: LogBroker
) -> None:
    with part.running() as child:
        send(part, child, 5, total=5)
    part.send(6)
    broker.delete_records(part.place, 7)
    with part.running() as child:
        wait_seen(part, 5 + 4, child)
        assert "Kafka deleted offsets 5 to 7 before they were read" in child.last_words(2_000)
    assert log_gaps(part) == [("deleted", 5, 2)]
