"""Worker, alerts and deliveries name what never came to them, came twice or out of order."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import TopicPartition

from alerts.rules.sources import SOURCES
from civicstream.clock import now_ms
from civicstream.errors import ServerUnavailable
from civicstream.events import FrameGap, ReadSequence
from civicstream.kafka.clients import admin_client
from civicstream.kafka.numbering import number_of
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings, Settings
from sinks.admin.balance import Balance
from sinks.admin.init import init_database
from sinks.admin.ledger import read_balance
from stack.servers.processes import Child, wait_until
from streams.dispatch.dispatch import INPUTS
from tests.kit.alert_runs import start_alerts, wait_at_work
from tests.kit.deliver_runs import start_deliver, wait_ready_receivers, web_server, webhook
from tests.kit.ledger_runs import BETWEEN_TASKS, FRAMES, TOPICS, WRITER, Writer
from tests.kit.sink_rows import settings_for
from tests.kit.worker_runs import (
    read_topic,
    small_city,
    start_worker,
    wait_for_report,
    worker_environment,
)

pytestmark = pytest.mark.timeout(400)

READ = {
    "worker": {*FRAMES, *INPUTS, "network"},
    "alerts": {*SOURCES, "actions"} - {"ledger"},
    "deliver web": {"alerts"},
}
"""Topics without prefix, by who reads them."""
WRITTEN = (*TOPICS, *BETWEEN_TASKS)

Named = dict[tuple[str, str], set[tuple[int, int]]]
"""Reader and topic -> ranges of numbers."""


def everywhere(*ranges: tuple[int, int]) -> Named:
    return {(reader, topic): set(ranges) for reader, topics in READ.items() for topic in topics}


@pytest.fixture
def settings(postgres: str, kafka: KafkaSettings) -> Settings:
    create_topics(kafka)
    made = settings_for(postgres, kafka)
    init_database(made)
    return made


@pytest.fixture
def writer(settings: Settings) -> Iterator[Writer]:
    made = Writer(settings.kafka, WRITTEN)
    yield made
    made.close()


@pytest.fixture
def readers(settings: Settings, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Give a function that runs all processes that read, until its block is left."""
    with web_server() as server:

        @contextmanager
        def running() -> Iterator[None]:
            begun, kafka, started = now_ms(), settings.kafka, list[Child]()
            environment = worker_environment(kafka, tmp_path, small_city())
            try:
                started.append(start_worker(environment, tmp_path, "worker"))
                started.append(start_alerts(kafka, tmp_path))
                receivers = [webhook("web", server.url)]
                started.append(start_deliver(kafka, tmp_path, receivers))
                wait_ready_receivers(kafka, started[-1], ["web"])
                wait_at_work(kafka, "alerts-0", begun)
                wait_for_report(kafka, "worker", begun)
                yield
                for child in started:
                    assert child.alive(), child.last_words()
                    os.kill(child.pid, signal.SIGINT)
            finally:
                for child in started:
                    child.stop()

        yield running


def named(settings: Settings, found: Balance, what: str) -> Named:
    """Return what is named so of the tester's records; all of them are on partition 0."""
    ranges: Named = {}
    prefix = f"{settings.kafka.topic_prefix}."
    for d in found.differences:
        mine = d.writer == ("gateway-1" if str(d.topic).startswith(prefix + "frames.") else WRITER)
        if d.what != what or d.stage == "sink" or not mine:
            continue
        assert (d.partition, d.first is None, d.last is None) == (0, False, False)
        topic = str(d.topic).removeprefix(prefix)
        ranges.setdefault((d.stage, topic), set()).add((d.first, d.last))  # type: ignore[arg-type]
    return ranges


def when_named(settings: Settings, what: str, wanted: Named) -> Balance:
    """Return the balance once exactly that is named."""
    found: list[Balance] = []

    def so_far() -> Named:
        found[:] = [read_balance(settings, wait_s=0)]
        return named(settings, found[0], what)

    wait_until_equal(so_far, wanted)
    return found[0]


def wait_until_equal(get: Callable[[], Any], wanted: Any) -> None:
    """Return when it is so; fail with the difference after a while."""
    with contextlib.suppress(ServerUnavailable):
        wait_until(lambda: get() == wanted, "", timeout_s=60, every_s=0.5)
    assert get() == wanted


def gaps_published(settings: Settings, writer: Writer) -> Counter[tuple[str, str, int, int]]:
    """Return how often each stage has published each gap of the tester's numbers."""
    found: Counter[tuple[str, str, int, int]] = Counter()
    for record in read_topic(settings.kafka, "gaps"):
        gap = msgspec.json.decode(record.value, type=FrameGap)
        topic = gap.topic.removeprefix(f"{settings.kafka.topic_prefix}.")
        source = dict(record.headers).get("ce_source", b"").decode()
        if gap.gateway == writer.of(topic) and source:
            found[source, topic, gap.first, gap.missing] += 1
    return found


def once_each(*gaps: tuple[int, int]) -> dict[tuple[str, str, int, int], int]:
    return {
        (reader.replace(" ", "/"), topic, first, missing): 1
        for reader, topics in READ.items()
        for topic in topics
        for first, missing in gaps
    }


def test_what_never_came_came_twice_or_out_of_order_is_named_by_every_reader_and_recorded_once(
    settings: Settings, writer: Writer, readers: Callable[[], Any]
) -> None:
    with readers():
        writer.write_numbers([0, 2, 1, 3, 3, 0, 6])
        when_named(settings, "missing", everywhere((4, 5)))
        found = when_named(settings, "repeated", everywhere((0, 6)))
        assert named(settings, found, "reordered") == everywhere((0, 6))
        sentence = f"worker: {writer.name('levels')} partition 0: 2 records never came: numbers 4"
        assert any(problem.startswith(sentence) for problem in found.problems)
        # A reordered record is a gap at first.
        expected = once_each((1, 1), (4, 2))
        wait_until_equal(lambda: gaps_published(settings, writer), expected)
    with readers():
        writer.write_numbers([7, 9])
        found = when_named(settings, "missing", everywhere((4, 5), (8, 8)))
        assert named(settings, found, "repeated") == everywhere((0, 9))
        expected |= once_each((8, 1))
        wait_until_equal(lambda: gaps_published(settings, writer), expected)


def test_records_removed_from_kafka_while_the_readers_were_away_are_named(
    settings: Settings, writer: Writer, readers: Callable[[], Any]
) -> None:
    with readers():
        writer.write_numbers([0, 1])
        topics = {**READ, "deliver web": ()}.values()
        wanted = Counter(writer.name(topic) for of_one in topics for topic in of_one)
        wait_until_equal(lambda: _committed(settings, following=2), wanted)
    writer.write_numbers([2, 3, 4])
    _remove_before(settings, writer, number=4)
    with readers():
        when_named(settings, "missing", everywhere((2, 3)))


def test_corrupt_records_are_named_by_every_reader_that_looks_into_them(
    settings: Settings, writer: Writer, readers: Callable[[], Any]
) -> None:
    wanted = everywhere((0, 2))
    # The alerts decode what a rule asks for, and all decisions.
    rules_ask_for = {"results.traffic", "actions"}
    wanted = {k: v for k, v in wanted.items() if k[0] != "alerts" or k[1] in rules_ask_for}
    with readers():
        writer.write(1)
        writer.write(1, corrupt=True)
        writer.write(1)
        found = when_named(settings, "corrupt", wanted)
    assert named(settings, found, "missing") == {}


def _committed(settings: Settings, following: int) -> Counter[str]:
    """Return the topics of which all the tester's numbers are in a state store."""
    newest = {
        (task, record.partition, record.key): record.value
        for task in ("frames", "network", "dispatch", "alerts")
        for record in read_topic(settings.kafka, f"state.{task}")
        if record.key.startswith(b"read/")
    }
    states = [msgspec.msgpack.decode(v, type=tuple[int, int, Any])[2] for v in newest.values()]
    read = [msgspec.convert(s, ReadSequence) for state in states for s in state]
    mine = [s for s in read if s.writer in {"gateway-1", WRITER}]
    return Counter(s.topic for s in mine if s.next == following)


def _remove_before(settings: Settings, writer: Writer, number: int) -> None:
    """Have Kafka delete every topic's records before the tester's with that number."""
    places = {}
    for topic in WRITTEN:
        for record in read_topic(settings.kafka, topic):
            found = number_of(record.headers)
            mine = found is not None and (found.writer, found.seq) == (WRITER, number)
            frame = topic in FRAMES and dict(record.headers).get("seq") == b"%d" % number
            if mine or frame:
                places[TopicPartition(writer.name(topic), 0)] = record.offset
    assert len(places) == len(WRITTEN)
    admin = admin_client(settings.kafka)
    try:
        admin.delete_records(places)
    finally:
        admin.close()
