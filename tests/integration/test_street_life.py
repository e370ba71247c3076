"""Simulated citizens and crews meet the real gateway and worker: a report becomes a solved case."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from civicstream.clock import now_ms, rfc3339
from civicstream.events import DeadLetter
from civicstream.kafka.topic_admin import create_topics
from civicstream.service_events import Allocation, Case, CrewAction, PersonalRecord, Report, Unit
from civicstream.settings import KafkaSettings, MqttSettings
from sensors_sim.city_plan import plan_city
from stack.servers.processes import Child, wait_until
from tests.kit.gateway_runs import start_gateway
from tests.kit.privacy_keys import SEALING, unseal
from tests.kit.worker_runs import read_reports, read_topic, start_worker, worker_environment

E = TypeVar("E", bound=msgspec.Struct)

DAY_MS = 86_400_000
NOON_YESTERDAY = now_ms() // DAY_MS * DAY_MS - DAY_MS // 2
"""The busiest hours of the citizens, whenever the test runs."""


def events(kafka: KafkaSettings, topic: str, of: type[E]) -> list[E]:
    return [msgspec.json.decode(record.value, type=of) for record in read_topic(kafka, topic)]


def start_simulator(environment: dict[str, str], mqtt: MqttSettings, folder: Path) -> Child:
    """Start a city in which three minutes are over in a second."""
    options = {
        "--city": environment["CIVICSTREAM_CITY__FILE"],
        "--start": rfc3339(NOON_YESTERDAY),
        "--speed": "180",
        "--rate": "20",
        "--citizens": "400",
        "--crews": "12",
    }
    arguments = [part for option in options.items() for part in option]
    command = [sys.executable, "-m", "stack.cli", "simulate", *arguments]
    own = environment | {"CIVICSTREAM_MQTT__PORT": str(mqtt.port)}
    return Child("simulator", command, folder / "simulator.log", own)


@pytest.mark.slow
def test_a_citizens_report_gets_a_case_and_a_crew_and_is_solved(
    mosquitto: MqttSettings, kafka: KafkaSettings, tmp_path: Path
) -> None:
    city = plan_city(100, 3)
    create_topics(kafka)
    environment = worker_environment(kafka, tmp_path, city)
    environment["CIVICSTREAM_ALLOCATION__PLAN_EVERY_S"] = "2"
    worker = start_worker(environment, tmp_path, "worker-1")
    gateway = start_gateway(mosquitto, kafka, tmp_path, **SEALING)
    started = [worker, gateway]
    try:
        # What is sent before it has subscribed, the broker keeps for nobody.
        wait_until(lambda: bool(read_reports(kafka, "gateway")), "the gateway", timeout_s=60)
        simulator = start_simulator(environment, mosquitto, tmp_path)
        started.append(simulator)
        wait_until(lambda: bool(solved_by_crews(kafka)), "a solved case", timeout_s=90, every_s=0.5)
        assert simulator.stop() == 0, simulator.last_words()
        counts = json.loads((tmp_path / "simulator.log").read_text().splitlines()[-1])
        assert counts["people_confirmed"] == counts["reports"] + counts["crew_messages"]
        check_abuse(kafka, counts["reports"])
        check_people(kafka)
        check_its_history(kafka, next(iter(solved_by_crews(kafka).values())))
    finally:
        for child in reversed(started):
            child.stop()


def solved_by_crews(kafka: KafkaSettings) -> dict[str, list[Case]]:
    """Return the versions of the cases that a crew has resolved, by id.

    Without those that a better plan gave to another crew on the way.
    """
    versions: dict[str, list[Case]] = defaultdict(list)
    for case in events(kafka, "cases", Case):
        versions[case.id].append(case)
    return {
        id_: found
        for id_, found in versions.items()
        if any(c.state == "resolved" and "crew-" in c.changed_by for c in found)
        and not any(c.state == "acknowledged" for c in found)
    }


def check_its_history(kafka: KafkaSettings, versions: list[Case]) -> None:
    """From the report over the crew's own words to the end."""
    states = list(dict.fromkeys(case.state for case in versions))
    assert states == ["received", "assigned", "in_progress", "resolved"]
    case = versions[0]
    assert case.latest_report in {r.id for r in events(kafka, "reports", Report)}
    task = f"case/{case.id}"
    allocations = [a for a in events(kafka, "allocations", Allocation) if a.task == task]
    done = next(a for a in allocations if a.state == "completed")
    assert done.decided_by == f"unit/{done.unit}"
    decided = {
        a.action
        for a in events(kafka, "crew_actions", CrewAction)
        if a.subject == f"allocation/{done.id}" and a.by == f"unit/{done.unit}"
    }
    assert {"accept", "done"} <= decided
    said = [u for u in events(kafka, "units", Unit) if u.id == done.unit and u.task == task]
    assert list(dict.fromkeys(u.state for u in said)) == ["en_route", "on_site"]


def check_abuse(kafka: KafkaSettings, sent: int) -> None:
    """Every report is on Kafka but those of the flood, which the gateway's gauge counts."""

    def letters() -> list[DeadLetter]:
        return [x for x in events(kafka, "deadletter", DeadLetter) if x.stage == "gateway"]

    def taken() -> int:
        return len(read_topic(kafka, "reports"))

    wait_until(lambda: taken() + len(letters()) >= sent, "every report", timeout_s=30)
    refused = letters()
    assert taken() + len(refused) == sent
    assert {letter.reason for letter in refused} == {"rate_limited"}
    assert len({letter.topic for letter in refused}) == 1, "one client was held back"
    assert 45 <= len(refused) <= 50

    def gauge() -> float:
        return read_reports(kafka, "gateway")[-1].gauges["rate_limited"]

    wait_until(lambda: gauge() == len(refused), "the gauge", timeout_s=10)


def check_people(kafka: KafkaSettings) -> None:
    """Persons are invented, come sealed, and are nowhere else."""
    people = [json.loads(unseal(p.sealed)) for p in events(kafka, "private", PersonalRecord)]
    assert [p for p in people if p.get("email", "").endswith("@example.org")]
    shared = b"".join(r.value for topic in ("reports", "cases") for r in read_topic(kafka, topic))
    assert b"example.org" not in shared
    assert b"phone-" not in shared
