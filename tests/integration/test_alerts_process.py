"""The alert process on a real broker: an alert's life, new rules, and one that stands by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from civicstream.clock import now_ms
from civicstream.events import Alert
from civicstream.kafka.topic_admin import create_topics
from civicstream.service_events import Action
from civicstream.settings import KafkaSettings
from stack.health import wait_for_report
from stack.servers.processes import Child, wait_until
from tests.kit.alert_runs import RULES, Results, published, start_alerts, wait_at_work


@pytest.fixture
def results(kafka: KafkaSettings) -> Iterator[Results]:
    create_topics(kafka)
    sender = Results(kafka)
    yield sender
    sender.close()


@pytest.fixture
def process(kafka: KafkaSettings, results: Results, tmp_path: Path) -> Iterator[Child]:
    begun = now_ms()
    child = start_alerts(kafka, tmp_path)
    try:
        wait_at_work(kafka, "alerts-0", begun)
        yield child
    finally:
        child.stop()


def wait_for(kafka: KafkaSettings, count: int) -> list[Alert]:
    wait_until(lambda: len(published(kafka)) >= count, f"{count} versions", timeout_s=20)
    return published(kafka)


def test_an_alert_is_raised_updated_acknowledged_and_cleared_on_kafka(
    kafka: KafkaSettings, results: Results, process: Child
) -> None:
    begin = now_ms() // 1000 * 1000 - 300_000
    results.window("north", begin, {"s1": 50.0, "s2": 50.0})
    results.window("north", begin + 60_000, {"s1": 15.0, "s2": 50.0})
    (raised,) = wait_for(kafka, 1)
    assert (raised.subject, raised.change) == ("segment/s1", "raised")
    results.window("north", begin + 120_000, {"s1": 5.0, "s2": 50.0})
    wait_for(kafka, 2)
    seen = Action(
        id="a1",
        subject=f"alert/{raised.id}",
        action="acknowledge",
        area="north",
        by="anna",
        at=now_ms(),
        note="coming",
    )
    results.send("actions", seen, "north")
    results.send("actions", seen, "north")
    wait_for(kafka, 3)
    results.window("north", begin + 180_000, {"s1": 55.0, "s2": 50.0})
    versions = wait_for(kafka, 4)
    assert [v.change for v in versions] == ["raised", "updated", "acknowledged", "cleared"]
    assert [v.version for v in versions] == [1, 2, 3, 4]
    assert {v.id for v in versions} == {raised.id}
    assert (versions[3].acknowledged_by, versions[3].cleared_at) == ("anna", begin + 180_000)
    report = wait_for_report(kafka, "alerts", "alerts-0", timeout_s=10)
    assert report.gauges["alerts_active"] == 0
    assert report.gauges["versions"] == 4
    assert process.stop() == 0, process.last_words()


def test_new_rules_are_in_force_without_a_restart_and_wrong_ones_are_refused(
    kafka: KafkaSettings, results: Results, process: Child, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    begin = now_ms() // 1000 * 1000 - 300_000
    results.window("north", begin, {"s1": 15.0, "s2": 35.0})
    wait_for(kafka, 1)
    rules.write_text(RULES.replace("below = 20", 'below = "slow"'), encoding="utf-8")
    wait_until(lambda: "refused" in process.last_words(), "a refusal", timeout_s=10)
    assert "rule 'slow', field 'below'" in process.last_words()
    assert process.alive()
    rules.write_text(RULES.replace('"slow"', '"slower"').replace("20", "40").replace("30", "45"))
    versions = wait_for(kafka, 4)
    told = {(v.rule, v.subject, v.change) for v in versions[1:]}
    assert told == {
        ("slow", "segment/s1", "cleared"),
        ("slower", "segment/s1", "raised"),
        ("slower", "segment/s2", "raised"),
    }


def test_a_process_that_stood_by_goes_on_with_the_alerts_of_one_that_died(
    kafka: KafkaSettings, results: Results, process: Child, tmp_path: Path
) -> None:
    begin = now_ms() // 1000 * 1000 - 300_000
    results.window("north", begin, {"s1": 15.0})
    (raised,) = wait_for(kafka, 1)
    second = start_alerts(kafka, tmp_path, "alerts-1")
    try:
        wait_for_report(kafka, "alerts", "alerts-1", timeout_s=60)
        process.kill()
        died = now_ms()
        wait_at_work(kafka, "alerts-1", died)
        results.window("north", begin + 60_000, {"s1": 50.0})
        versions = wait_for(kafka, 2)
        assert [(v.id, v.change, v.version) for v in versions] == [
            (raised.id, "raised", 1),
            (raised.id, "cleared", 2),
        ]
        assert second.stop() == 0, second.last_words()
    finally:
        second.kill()
