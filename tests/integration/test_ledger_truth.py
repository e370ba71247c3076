"""The ledger names what is lost, doubled, out of order or corrupt, on every topic of real Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings, Settings
from sinks.admin.balance import Balance, Difference
from sinks.admin.init import init_database
from sinks.admin.ledger import read_balance
from stack.servers.processes import Child, wait_until
from tests.integration.test_sink_service import ledger
from tests.kit.ledger_runs import TOPICS, Writer, make_topics_anew, remove_records
from tests.kit.sink_process import sink_running
from tests.kit.sink_rows import settings_for

Named = dict[str, list[tuple[int, int]]]
"""Topic -> ranges of numbers."""


@pytest.fixture
def settings(postgres: str, kafka: KafkaSettings) -> Settings:
    create_topics(kafka)
    quick = kafka.model_copy(update={"session_timeout_ms": 6000})
    made = settings_for(postgres, quick)
    init_database(made)
    return made


@pytest.fixture
def writer(settings: Settings) -> Iterator[Writer]:
    made = Writer(settings.kafka)
    yield made
    made.close()


def when_read(settings: Settings, sink: Child) -> Balance:
    """Return the balance once the sink has read everything."""
    found: list[Balance] = []

    def all_read() -> bool:
        assert sink.alive(), sink.last_words()
        found[:] = [read_balance(settings, wait_s=0)]
        return not found[0].waiting_records

    wait_until(all_read, "the sink to read all", timeout_s=90, every_s=0.5)
    return found[0]


def named(found: Balance, what: str, stage: str = "sink") -> Named:
    """Return which numbers of which topic are named so; all of them of partition 0."""
    of_sort = [d for d in found.differences if (d.what, d.stage) == (what, stage)]
    assert {d.partition for d in of_sort} <= {0}
    named: Named = {}
    for d in of_sort:
        named.setdefault(str(d.topic), []).append(_range(d))
    return named


def _range(difference: Difference) -> tuple[int, int]:
    assert difference.first is not None
    assert difference.last is not None
    return difference.first, difference.last


def everywhere(writer: Writer, *ranges: tuple[int, int]) -> Named:
    return {writer.name(topic): list(ranges) for topic in TOPICS}


def test_what_came_once_and_in_order_leaves_nothing_to_say(
    settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    writer.write(5)
    writer.report()
    with sink_running(settings, tmp_path) as sink:
        found = when_read(settings, sink)
    assert (found.problems, found.notices, found.settled) == ([], [], True)


def test_what_waits_on_kafka_when_the_sink_stops_is_in_flight_and_stored_after_the_next_start(
    settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    writer.write(2)
    with sink_running(settings, tmp_path) as sink:
        when_read(settings, sink)
    writer.write(3)
    writer.report()
    code, out = ledger(settings, "--json", "--wait", "0")
    found = json.loads(out)
    assert (code, found["problems"]) == (0, [])
    assert found["waiting_records"] == 3 * len(TOPICS)
    with sink_running(settings, tmp_path) as sink:
        assert when_read(settings, sink).settled
    code, out = ledger(settings, "--json", "--wait", "20", "--rows")
    found = json.loads(out)
    assert (code, found["problems"], found["notices"]) == (0, [], [])


def test_records_removed_before_they_were_read_are_named(
    settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    writer.write(5)
    remove_records(settings.kafka, before=3)
    writer.report()
    with sink_running(settings, tmp_path) as sink:
        found = when_read(settings, sink)
    assert named(found, "missing") == everywhere(writer, (0, 2))
    assert len(found.problems) == len(TOPICS)
    assert f"written by tester (started {writer.epoch})" in " ".join(found.problems)


def test_records_at_the_end_that_were_removed_are_named_though_none_follows(
    settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    writer.write(3)
    with sink_running(settings, tmp_path) as sink:
        when_read(settings, sink)
    writer.write(2)
    remove_records(settings.kafka, before=5)
    writer.report()
    found = read_balance(settings, wait_s=0)
    assert named(found, "missing") == everywhere(writer, (3, 4))
    assert named(found, "offsets", "kafka") == everywhere(writer, (3, 4))
    code, out = ledger(settings, "--json", "--wait", "0")
    assert code == 1
    said = [d for d in json.loads(out)["differences"] if d["what"] == "missing"]
    assert {(d["topic"], d["first"], d["last"]) for d in said} == {
        (writer.name(topic), 3, 4) for topic in TOPICS
    }


def test_records_lost_with_a_topic_that_was_made_anew_are_named(
    settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    writer.write(3)
    with sink_running(settings, tmp_path) as sink:
        when_read(settings, sink)
    writer.write(2)
    make_topics_anew(settings.kafka)
    writer.write(1)
    writer.report()
    with sink_running(settings, tmp_path) as sink:
        found = when_read(settings, sink)
    assert named(found, "missing") == everywhere(writer, (3, 4))


def test_doubled_and_reordered_records_are_named_and_are_no_loss(
    settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    writer.write_numbers([0, 2, 1, 3, 3, 0])
    with sink_running(settings, tmp_path) as sink:
        found = when_read(settings, sink)
        code, out = ledger(settings, "--wait", "0")
    assert found.problems == []
    assert named(found, "repeated") == named(found, "reordered") == everywhere(writer, (0, 3))
    assert code == 0, out
    for topic in TOPICS:
        place = f"sink: {writer.name(topic)} partition 0:"
        assert f"{place} 2 records of 0 to 3 came again, counted once" in out
        assert f"{place} 1 records of 0 to 3 came out of order" in out


def test_corrupt_records_are_named_and_are_no_gap(
    settings: Settings, writer: Writer, tmp_path: Path
) -> None:
    writer.write(1)
    writer.write(1, corrupt=True)
    writer.write(1)
    writer.report()
    with sink_running(settings, tmp_path) as sink:
        # Their dead letters come after them.
        wait_until(
            lambda: named(when_read(settings, sink), "corrupt").keys() == everywhere(writer).keys(),
            "the corrupt records",
            timeout_s=60,
        )
        found = when_read(settings, sink)
    assert named(found, "missing") == {}
    assert named(found, "corrupt") == everywhere(writer, (0, 2))
    assert len(found.problems) == len(TOPICS)


def test_rows_removed_from_the_database_are_named_by_table_and_day(
    settings: Settings, writer: Writer, postgres: str, tmp_path: Path
) -> None:
    writer.write(1)
    with sink_running(settings, tmp_path) as sink:
        when_read(settings, sink)
    assert read_balance(settings, wait_s=0, count_rows=True).problems == []
    tables = ("readings_noise", "citizen_reports", "units", "actions", "alerts", "results_traffic")
    with psycopg.connect(postgres) as owner:
        owner.execute("UPDATE retention SET keep_days = 36500")
        assert (
            owner.execute(
                "DELETE FROM readings_noise WHERE ctid = (SELECT min(ctid) FROM readings_noise)"
            ).rowcount
            == 1
        )
        for table in tables[1:]:
            assert owner.execute(f"DELETE FROM {table}".encode()).rowcount
    found = read_balance(settings, wait_s=0, count_rows=True)
    assert {d.topic for d in found.differences if d.what == "rows"} == set(tables)
    assert any("readings_noise: 2026-05-28: 1 of 3 rows are missing" in p for p in found.problems)
