"""Kill -9 under load: the alerts are those of a run that nobody disturbed."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from alerts.engine.engine import AlertEngine
from alerts.engine.places import Places
from alerts.rules.rule_file import parse_rules
from civicstream.clock import now_ms
from civicstream.errors import ServerUnavailable
from civicstream.events import Alert, TrafficResult, TrafficRow
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from stack.servers.processes import wait_until
from tests.kit.alert_runs import Results, published, start_alerts, wait_at_work

pytestmark = [pytest.mark.fault, pytest.mark.slow]

AREAS = ("north", "south", "east", "west")
SEGMENTS = 6
WINDOWS = 60
LIVES = 4

RULES = """
[[rule]]
name = "slow"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 20
clear_above = 30
severity = "moderate"
forget_after = "never"
message = "{segment} at {value:.0f} km/h"

[[rule]]
name = "slow-for-long"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 25
for = "3m"
severity = "severe"
forget_after = "never"
message = "{segment}"

[[rule]]
name = "many-slow"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 25
at_least = 3
within = "area"
severity = "severe"
forget_after = "never"
message = "{value:.0f} segments of {area}"

[[rule]]
name = "drop"
source = "results.traffic"
field = "space_mean_speed_kmh"
change_over = "5m"
below = -30
severity = "minor"
forget_after = "never"
message = "{segment}"
"""


def windows(begin: int) -> list[TrafficResult]:
    """Speeds that wander, so that alerts come and go, in the order they are sent."""
    pick = random.Random(5)
    speeds = {(a, i): 40.0 for a in AREAS for i in range(SEGMENTS)}
    made = []
    for number in range(WINDOWS):
        end = begin + number * 60_000
        for area in AREAS:
            rows = []
            for i in range(SEGMENTS):
                moved = speeds[area, i] + pick.uniform(-16, 16)
                speeds[area, i] = v = min(80.0, max(3.0, moved))
                rows.append(
                    TrafficRow(
                        segment=f"{area}-{i}",
                        readings=5,
                        vehicles=5,
                        flow_veh_h=300,
                        time_mean_speed_kmh=v,
                        space_mean_speed_kmh=v,
                        p85_speed_kmh=v,
                        occupancy=0.1,
                        density_veh_km_lane=9,
                        level_of_service="A",
                        travel_time_index=1,
                        coverage=1,
                    )
                )
            made.append(TrafficResult(area, end - 60_000, end, "final", end, rows))
    return made


def undisturbed(results: list[TrafficResult]) -> list[Alert]:
    engine = AlertEngine(parse_rules(RULES), Places())
    return [a for r in results for a in engine.apply("results.traffic", r, r.computed_at)]


def story(alerts: list[Alert]) -> dict[str, list[tuple[int, str, int, float | None, str]]]:
    """Return what happened to each alert; fail where versions have gaps or come twice."""
    found: dict[str, dict[int, tuple[int, str, int, float | None, str]]] = defaultdict(dict)
    for alert in alerts:
        told = (alert.version, alert.change, alert.updated_at, alert.value, alert.key)
        assert alert.version not in found[alert.id], alert
        found[alert.id][alert.version] = told
    for id_, versions in found.items():
        assert sorted(versions) == list(range(1, len(versions) + 1)), id_
    return {id_: [versions[n] for n in sorted(versions)] for id_, versions in found.items()}


def test_a_process_killed_again_and_again_raises_what_an_undisturbed_one_does(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    (tmp_path / "rules.toml").write_text(RULES, encoding="utf-8")
    results = windows(now_ms() // 60_000 * 60_000 - WINDOWS * 60_000)
    expected = story(undisturbed(results))
    assert len(expected) > 100
    sender = Results(kafka)
    begun = now_ms()
    child = start_alerts(kafka, tmp_path)
    try:
        wait_at_work(kafka, "alerts-0", begun)
        share = len(results) // LIVES
        for life in range(1, LIVES + 1):
            before = len(published(kafka))
            part = results[(life - 1) * share : life * share if life < LIVES else None]
            for number, result in enumerate(part):
                sender.send("results.traffic", result, result.area)
                if number == len(part) // 2:
                    wait_until(
                        lambda before=before: len(published(kafka)) > before,  # type: ignore[misc]
                        "alerts of this life",
                        timeout_s=120,
                    )
            if life < LIVES:
                child.kill()
                child = start_alerts(kafka, tmp_path, f"alerts-{life}")

        def complete() -> bool:
            return story(published(kafka)) == expected

        try:
            wait_until(complete, "the alerts of an undisturbed run", timeout_s=90, every_s=0.5)
        except ServerUnavailable:
            assert story(published(kafka)) == expected, child.last_words()
        assert child.stop() == 0, child.last_words()
        assert story(published(kafka)) == expected
    finally:
        child.kill()
        sender.close()
