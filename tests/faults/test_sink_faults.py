"""Whatever dies, the rows are those that were published: none missing, none twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from sinks.admin.init import init_database
from stack.servers.processes import free_port, wait_until
from tests.kit.servers import TimescaleServer, start_kafka
from tests.kit.sink_process import (
    Feed,
    ask,
    assert_rows_equal_truth,
    at_a_random_moment,
    received,
    sink_running,
    start_sink,
    wait_for_all,
    wait_received,
)
from tests.kit.sink_rows import settings_for

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def quick_kafka(kafka: KafkaSettings) -> KafkaSettings:
    """A broker whose groups notice a dead member after two seconds."""
    create_topics(kafka)
    return kafka.model_copy(update={"session_timeout_ms": 2000})


def test_a_sink_killed_again_and_again_under_load_loses_and_repeats_nothing(
    database: str, quick_kafka: KafkaSettings, tmp_path: Path
) -> None:
    settings = settings_for(database, quick_kafka)
    init_database(settings)
    rng = random.Random(7)
    with Feed(settings) as feed:
        for _ in range(5):
            child = start_sink(settings, tmp_path)
            wait_received(database, received(database) + 1, child)
            at_a_random_moment(rng)
            child.kill()
        feed.finish()
        with sink_running(settings, tmp_path) as child:
            wait_for_all(database, feed, child)
        assert child.returncode == 0
        assert_rows_equal_truth(database, feed)


def test_a_sink_killed_while_another_runs_hands_its_partitions_over(
    postgres: str, quick_kafka: KafkaSettings, tmp_path: Path
) -> None:
    settings = settings_for(postgres, quick_kafka)
    init_database(settings)
    with Feed(settings) as feed:
        first = start_sink(settings, tmp_path, "sink-1")
        with sink_running(settings, tmp_path, "sink-2") as second:
            wait_received(postgres, 1000, second)
            both = "SELECT count(*) FROM sink_counts"
            wait_until(lambda: _count(postgres, both) == 4, "both sinks writing", timeout_s=60)
            first.kill()
            wait_received(postgres, received(postgres) + 2000, second)
            feed.finish()
            wait_for_all(postgres, feed, second)
        assert_rows_equal_truth(postgres, feed)


def _count(url: str, query: str) -> int:
    return int(ask(url, query)[0][0])


def test_a_database_away_for_20_seconds_costs_nothing_but_time(
    timescale_server: TimescaleServer, quick_kafka: KafkaSettings, tmp_path: Path
) -> None:
    url = timescale_server.url
    settings = settings_for(url, quick_kafka)
    init_database(settings)
    with Feed(settings) as feed, sink_running(settings, tmp_path) as child:
        wait_received(url, 1000, child)
        timescale_server.stop()
        sent = feed.gateway.sent
        # As long as it takes to publish 20 s worth of readings; the sink waits meanwhile.
        wait_until(lambda: feed.gateway.sent > sent + 20_000, "20 s of load", timeout_s=120)
        assert child.alive(), child.last_words()
        assert "nothing is lost, trying again" in child.last_words(200)
        timescale_server.restart()
        feed.finish()
        wait_for_all(url, feed, child)
        assert_rows_equal_truth(url, feed)
    assert child.returncode == 0


def test_a_sink_started_before_kafka_waits_for_it(postgres: str, tmp_path: Path) -> None:
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4, session_timeout_ms=2000)
    settings = settings_for(postgres, kafka)
    init_database(settings)
    with sink_running(settings, tmp_path) as child:
        waiting = f"Kafka at 127.0.0.1:{port}"
        wait_until(lambda: waiting in child.last_words(), "the message", timeout_s=30)
        broker = start_kafka(port, tmp_path / "kafka")
        try:
            create_topics(kafka)
            with Feed(settings) as feed:
                wait_received(postgres, 500, child)
                feed.finish()
                wait_for_all(postgres, feed, child)
                assert_rows_equal_truth(postgres, feed)
            child.stop()
        finally:
            broker.stop()


def test_a_broker_that_came_back_empty_is_read_from_its_beginning(
    postgres: str, tmp_path: Path
) -> None:
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4, session_timeout_ms=2000)
    settings = settings_for(postgres, kafka)
    init_database(settings)
    broker = start_kafka(port, tmp_path / "kafka")
    try:
        create_topics(kafka)
        with sink_running(settings, tmp_path) as child:
            with Feed(settings) as before:
                wait_received(postgres, 1000, child)
                before.finish()
                wait_received(postgres, before.gateway.sent, child)
            broker.kill()
            broker = start_kafka(port, tmp_path / "another")
            create_topics(kafka)
            with Feed(settings, seed=6) as after:
                after.gateway.epoch += 1
                wait_received(postgres, before.gateway.sent + 1000, child)
                after.finish()
                sent = before.gateway.sent + after.gateway.sent
                wait_received(postgres, sent, child)
            assert "the topic was deleted and made anew" in child.last_words(2000)
            assert received(postgres) == sent
    finally:
        broker.stop()
