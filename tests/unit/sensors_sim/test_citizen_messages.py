"""What simulated citizens send is what the gateway takes, and is the same when sent again."""

from __future__ import annotations

import json
from collections import Counter

from pydantic import SecretStr

from civicstream.services import load_services
from civicstream.settings import PrivacySettings, Settings
from ingest.city_messages import CityMessages, Refusal
from sensors_sim.citizen_messages import person_of, report_message
from sensors_sim.citizen_reports import ABUSER, Citizens
from sensors_sim.city_plan import plan_city
from sensors_sim.incidents import Incident
from tests.kit.privacy_keys import PSEUDONYM_KEY, PUBLIC_KEY, unseal

HOUR = 3_600_000
NOON = 20_500 * 24 * HOUR + 12 * HOUR
CITY, SERVICES = plan_city(100, 1), load_services()
SETTINGS = Settings(
    privacy=PrivacySettings(public_key=PUBLIC_KEY, pseudonym_key=SecretStr(PSEUDONYM_KEY))
)


def citizens(count: int = 300, seed: int = 1) -> Citizens:
    return Citizens(CITY, SERVICES, seed, count, NOON)


def test_the_gateway_takes_every_report_but_the_flood() -> None:
    reports = citizens().due(NOON + 2 * HOUR)
    gateway = CityMessages(SETTINGS)
    refused: Counter[tuple[str, str]] = Counter()
    for sent in reports:
        topic, payload = report_message(sent, SERVICES, "city/v1")
        found = gateway.take("report", topic, payload, now_ms=sent.at, now=sent.at / 1000)
        if isinstance(found, Refusal):
            refused[sent.client, found.reason] += 1
    assert len(reports) > 60
    flood = sum(sent.client == ABUSER for sent in reports)
    # Ten at once, and about one a minute in its five minutes.
    assert refused.keys() == {(ABUSER, "rate_limited")}
    assert flood - 16 <= refused.total() <= flood - 10


def test_the_same_reports_come_however_often_is_asked() -> None:
    once = citizens().due(NOON + 3 * HOUR)
    slowly = citizens()
    piecewise = [
        sent for end in range(NOON, NOON + 3 * HOUR + 1, 7 * 60_000) for sent in slowly.due(end)
    ] + slowly.due(NOON + 3 * HOUR)
    assert [s.at for s in once] == sorted(s.at for s in once)
    assert sorted(piecewise, key=repr) == sorted(once, key=repr)
    assert all(NOON <= s.at < NOON + 3 * HOUR for s in once)
    assert citizens(seed=2).due(NOON + 3 * HOUR) != once


def test_only_as_many_phones_as_citizens_report() -> None:
    phones = {s.client for s in citizens(5).due(NOON + 400 * HOUR)} - {ABUSER}
    assert phones == {f"phone-{n:05d}" for n in range(1, 6)}


def test_some_messages_are_sent_twice_alike() -> None:
    sent = citizens(2_000).due(NOON + 2 * HOUR)
    bodies = [report_message(s, SERVICES, "city/v1") for s in sent]
    said = Counter((topic, json.loads(body)["reference"]) for topic, body in bodies)
    twice = sum(n == 2 for n in said.values())
    assert 0.03 < twice / len(said) < 0.1
    assert max(said.values()) == 2


def test_several_people_report_the_same_problem_and_some_report_nothing() -> None:
    sent = citizens(2_000).due(NOON + 2 * HOUR)
    reporters = Counter(problem for problem, _ in {(s.problem, s.client) for s in sent})
    assert max(n for problem, n in reporters.items() if problem) >= 3
    assert any(s.problem is None for s in sent if s.client != ABUSER)


def test_people_in_the_queue_report_what_blocks_the_road() -> None:
    roads = [
        Incident(f"incident-{n}", n % len(CITY.segments), NOON + n * 60_000, NOON + HOUR, 0.8)
        for n in range(30)
    ]
    people = citizens(1)
    early = people.due(NOON + 15 * 60_000, roads[:15])
    sent = early + people.due(NOON + HOUR, roads)
    reported = {s.problem for s in sent if s.problem and s.problem.startswith("incident-")}
    assert 15 <= len(reported) <= 27  # seven in ten, and each of them once
    by_id = {i.id: i for i in roads}
    for one in sent:
        if one.problem in reported:
            segment = CITY.segments[by_id[str(one.problem)].segment]
            assert one.area == segment.area
            assert one.at >= by_id[str(one.problem)].start_ms
            assert "incident" in SERVICES[one.service].confirmed_by


def test_persons_are_invented_and_reach_only_the_sealed_record() -> None:
    named = [s for s in citizens(2_000).due(NOON + HOUR) if len(person_of(s.client)) == 3]
    gateway = CityMessages(SETTINGS)
    masked = 0
    for sent in named:
        person = person_of(sent.client)
        assert person == person_of(sent.client)
        assert person["email"].endswith("@example.org")
        topic, payload = report_message(sent, SERVICES, "city/v1")
        found = gateway.take("report", topic, payload, now_ms=sent.at, now=sent.at / 1000)
        assert not isinstance(found, Refusal)
        report, personal = found
        assert not [v for v in (*person.values(), sent.client) if v.encode() in report.value]
        sealed = json.loads(unseal(json.loads(personal.value)["sealed"]))
        assert {k: sealed[k] for k in person} == person
        masked += person["phone"] in sealed.get("description", "")
    assert len(named) > 10
    assert masked > 0
