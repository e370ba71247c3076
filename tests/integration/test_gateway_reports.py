"""Reports and crews through a real gateway between real brokers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from civicstream.clock import now_ms
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings, MqttSettings
from stack.servers.processes import wait_until
from tests.kit.feeds_runs import Published
from tests.kit.gateway_runs import Arrivals, Message, flood, gateway, publish, start_gateway
from tests.kit.privacy_keys import SEALING, unseal

SECRETS = ("phone-", "Ada", "example.org", "7654321")


def _report(client: int, number: int, **change: Any) -> Message:
    payload = {
        "reference": f"{client}-{number}",
        "service": "pothole",
        "ts": now_ms() - 1_000,
        "lon": 13.4 + number / 10_000,
        "lat": 52.5,
        "description": f"Hole {number}, call me: 0171 7654321",
        "name": "Ada",
        "email": "ada@example.org",
    }
    return f"city/v1/report/north/phone-{client}", json.dumps(payload | change).encode()


@pytest.fixture
def arrivals(kafka: KafkaSettings) -> Iterator[Arrivals]:
    create_topics(kafka)
    found = Arrivals(kafka)
    yield found
    found.close()


@pytest.fixture
def published(kafka: KafkaSettings, arrivals: Arrivals) -> Iterator[Published]:
    found = Published(kafka)
    yield found
    found.close()


def test_reports_and_crews_reach_their_topics_and_the_ledger_counts_them(
    mosquitto: MqttSettings,
    kafka: KafkaSettings,
    arrivals: Arrivals,
    published: Published,
    tmp_path: Path,
) -> None:
    unit = {
        "ts": now_ms(),
        "state": "available",
        "lon": 13.4,
        "lat": 52.5,
        "skills": ["road"],
        "shift_end": now_ms() + 3_600_000,
        "capacity": 1,
        "load": 0,
    }
    decision = {"ts": now_ms(), "action": "accept", "allocation": "a1"}
    with gateway(mosquitto, kafka, arrivals, tmp_path, **SEALING):
        for topic, payload in (_report(1, 1), _report(1, 1), _report(2, 1, service="ufo")):
            publish(mosquitto, topic, payload)
        publish(mosquitto, "city/v1/unit/north/crew-1", json.dumps(unit))
        publish(mosquitto, "city/v1/unit/north/crew-1", json.dumps(decision))
        published.wait_for(reports=2, private=2, units=1, crew_actions=1)
        arrivals.wait_for_dead_letters(1)
    kinds = arrivals.last_report().kinds
    assert (kinds["report"].accepted, kinds["report"].rejected) == (2, 1)
    assert (kinds["unit"].received, kinds["unit"].accepted) == (2, 2)
    assert len({report.id for report in published.reports}) == 1
    assert [report.description for report in published.reports] == ["Hole 1, call me: […]"] * 2
    letter = arrivals.dead_letters[0]
    assert (letter.reason, letter.kind) == ("unknown_service", "report")
    shared = repr([published.raw[name] for name in ("reports", "units", "crew_actions")])
    shared += repr(arrivals.dead_letters) + repr(
        [record.key for record in published.raw["private"]]
    )
    shared += (tmp_path / "g1.log").read_text()
    assert not [secret for secret in SECRETS if secret in shared]
    opened = unseal(published.personal[0].sealed)
    assert json.loads(opened)["email"] == "ada@example.org"


@pytest.mark.fault
def test_a_killed_gateway_loses_no_report_and_its_successor_repeats_only_known_ids(
    mosquitto: MqttSettings,
    kafka: KafkaSettings,
    arrivals: Arrivals,
    published: Published,
    tmp_path: Path,
) -> None:
    sent = [_report(client, number) for number in range(8) for client in range(100)]
    ids = {(client, number) for number in range(8) for client in range(100)}
    settings = SEALING | {"reports__burst": 20}
    first = start_gateway(mosquitto, kafka, tmp_path, **settings)
    try:
        arrivals.wait_ready(first)
        flood(mosquitto.port, sent[:600], timeout_s=30)
    finally:
        first.kill()  # in the midst of them
    flood(mosquitto.port, sent[600:], timeout_s=30)
    with gateway(mosquitto, kafka, arrivals, tmp_path, **settings):

        def everything() -> bool:
            published.refresh()
            of_reports = {report.reference for report in published.reports}
            sealed = {personal.report for personal in published.personal}
            return len(of_reports) == len(ids) and len(sealed) == len(ids)

        wait_until(everything, f"{len(ids)} reports and persons", timeout_s=60)
    assert {report.reference for report in published.reports} == {f"{c}-{n}" for c, n in ids}
    assert len({report.id for report in published.reports}) == len(ids)
    assert not arrivals.dead_letters
