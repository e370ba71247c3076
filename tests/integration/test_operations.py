"""What somebody decides is on Kafka, then in the database, then in the audit; once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import psycopg
import pytest

from civicstream.kafka.topic_admin import create_topics
from civicstream.service_events import Action
from civicstream.settings import KafkaSettings
from stack.servers.processes import wait_until
from tests.kit.access_runs import Visitor, make_token, run
from tests.kit.citizen_events import SOMEONE, allocation, case, personal, report, unit
from tests.kit.feeds_runs import Published, feeds
from tests.kit.sink_events import alert
from tests.kit.sink_process import ask, sink_running
from tests.kit.sink_rows import Loader, as_role, loader, settings_for

WORKERS_ID = "case/c-51/crew-5/1795948524322"
"""An allocation's id as the worker makes it: task, crew, time."""

STORED = {
    "city.alerts": [alert(id="al1", key="k1"), alert(id="gone", key="k2", state="cleared")],
    "city.cases": [
        case(id="new"),
        case(id="seen", state="acknowledged"),
        case(id="working", state="in_progress"),
        case(id="closed", state="resolved"),
    ],
    "city.allocations": [
        allocation(id="advice"),
        allocation(id="sent", state="accepted"),
        allocation(id="ended", state="completed"),
        allocation(id=WORKERS_ID),
    ],
    "city.units": [
        unit(id="free", state="available"),
        unit(id="home", state="off_duty"),
    ],
}


@pytest.fixture
def database(postgres: str) -> Iterator[Loader]:
    with loader(postgres) as writer:
        for topic, events in STORED.items():
            writer.write(*(writer.record(topic, msgspec.json.encode(e), []) for e in events))
        assert not writer.dead_letters, writer.dead_letters
        yield writer


@pytest.fixture
def published(kafka: KafkaSettings) -> Iterator[Published]:
    create_topics(kafka)
    reader = Published(kafka)
    yield reader
    reader.close()


class Desk:
    """An operator with a token."""

    def __init__(self, visitor: Visitor, token: str) -> None:
        self._visitor = visitor
        self.token = token

    def decide(self, path: str, key: str = "", **body: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return self._visitor.send("POST", f"/api/v1/{path}", self.token, json=body, headers=headers)


@pytest.fixture
def desk(
    kafka: KafkaSettings, published: Published, database: Loader, tmp_path: Path
) -> Iterator[Desk]:
    token = make_token(database.url, "desk-1", "read", "operate", "admin")
    private = as_role(database.url, "civicstream_private").get_secret_value()
    settings = {"access__required": "true", "database__private_url": private}
    with feeds(kafka, database.url, tmp_path, **settings) as front:
        yield Desk(Visitor(front), token)


def on_kafka(published: Published, count: int) -> list[Action]:
    published.wait_for(actions=count)
    return [msgspec.json.decode(r.value, type=Action) for r in published.raw["actions"]]


def test_each_decision_is_on_kafka_when_it_is_answered(desk: Desk, published: Published) -> None:
    cases: list[tuple[str, dict[str, Any], str, str | None]] = [
        ("alerts/al1/acknowledge", {"note": " seen "}, "alert/al1", None),
        ("alerts/al1/silence", {"minutes": 30}, "alert/al1", "30"),
        ("allocations/advice/accept", {}, "allocation/advice", None),
        ("allocations/sent/reject", {"note": "no key"}, "allocation/sent", None),
        ("allocations/advice/override", {"unit": "free"}, "allocation/advice", "free"),
        ("cases/new/acknowledge", {}, "case/new", None),
        ("cases/new/assign", {"unit": "free"}, "case/new", "free"),
        ("cases/seen/start", {}, "case/seen", None),
        ("cases/working/resolve", {"note": "filled"}, "case/working", None),
        ("cases/new/reject", {"note": "not ours"}, "case/new", None),
    ]
    for number, (path, body, subject, value) in enumerate(cases, 1):
        answer = desk.decide(path, **body)
        assert answer.status_code == 202, answer.text
        action = on_kafka(published, number)[-1]
        assert answer.json() == {"value": None, "note": "", **msgspec.to_builtins(action)}
        assert (action.subject, action.action) == (subject, path.rpartition("/")[2])
        assert (action.by, action.area, action.value) == ("desk-1", "north", value)
        headers = dict(published.raw["actions"][-1].headers)
        assert headers["ce_type"] == b"org.civicstream.action"
        assert headers["ce_id"] == action.id.encode()
    assert on_kafka(published, 1)[0].note == "seen"


def test_ids_with_slashes_are_taken_percent_encoded_or_not(
    desk: Desk, published: Published
) -> None:
    encoded = quote(WORKERS_ID, safe="")
    paths = [
        (f"allocations/{encoded}/accept", {}),
        (f"allocations/{WORKERS_ID}/accept", {}),
        (f"allocations/{encoded}/reject", {"note": "flat tyre"}),
        (f"allocations/{WORKERS_ID}/reject", {"note": "flat tyre"}),
        (f"allocations/{encoded}/override", {"unit": "free"}),
        (f"allocations/{WORKERS_ID}/override", {"unit": "free"}),
    ]
    for number, (path, body) in enumerate(paths, 1):
        answer = desk.decide(path, **body)
        assert answer.status_code == 202, (path, answer.text)
        assert on_kafka(published, number)[-1].subject == f"allocation/{WORKERS_ID}"
    unknown = desk.decide("allocations/case/c-51/crew-9/1/accept")
    assert unknown.status_code == 404
    assert "no allocation 'case/c-51/crew-9/1'" in unknown.json()["detail"]


def test_what_is_unknown_too_late_or_incomplete_is_refused_with_the_reason(
    desk: Desk, published: Published
) -> None:
    for status, path, body, words in (
        (404, "alerts/none/acknowledge", {}, "no alert 'none'"),
        (404, "cases/a%00b/start", {}, "no case"),
        (409, "alerts/gone/acknowledge", {}, "is cleared"),
        (409, "alerts/al1/unsilence", {}, "not silenced"),
        (409, "allocations/sent/accept", {}, "only while it is proposed"),
        (409, "allocations/ended/reject", {"note": "x"}, "is completed"),
        (400, "allocations/advice/reject", {"note": "  "}, "must say the reason"),
        (404, "allocations/advice/override", {"unit": "nobody"}, "unit 'nobody'"),
        (409, "cases/new/assign", {"unit": "home"}, "off duty"),
        (409, "cases/closed/resolve", {}, "is resolved"),
        (400, "alerts/al1/silence", {}, "minutes"),
        (400, "alerts/al1/silence", {"minutes": 0}, "minutes"),
        (400, "cases/new/acknowledge", {"nte": "x"}, "nte"),
        (405, "cases/new/explode", {}, "Method Not Allowed"),
        (400, "admin/forget", {"pseudonym": "Jane"}, "32 hexadecimal"),
    ):
        answer = desk.decide(path, **body)
        assert (answer.status_code, path) == (status, path), answer.text
        assert words in answer.json()["detail"]
        assert answer.headers["content-type"] == "application/problem+json"
    published.refresh(1000)
    assert published.raw["actions"] == []


def test_a_decision_sent_again_with_its_key_is_the_same_one(
    desk: Desk, published: Published
) -> None:
    first = desk.decide("alerts/al1/acknowledge", key="k1", note="seen")
    again = desk.decide("alerts/al1/acknowledge", key="k1", note="seen")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    other = desk.decide("alerts/al1/silence", key="k1", minutes=5)
    assert other.status_code == 422
    assert "new key" in other.json()["detail"]
    assert desk.decide("alerts/al1/silence", key="k2", minutes=5).status_code == 202
    assert [action.action for action in on_kafka(published, 2)] == ["acknowledge", "silence"]


def test_a_decision_is_in_the_database_and_the_audit_and_what_is_done_to_that_shows(
    desk: Desk, database: Loader, kafka: KafkaSettings, tmp_path: Path
) -> None:
    url = database.url
    settings = settings_for(url, kafka)
    with sink_running(settings, tmp_path):
        made = desk.decide("alerts/al1/acknowledge", key="k1", note="on our way").json()
        desk.decide("allocations/advice/accept")
        wait_until(lambda: len(ask(url, "SELECT 1 FROM actions")) == 2, "rows", timeout_s=60)
        again = desk.decide("alerts/al1/acknowledge", key="k1", note="on our way")
        assert again.json() == made
    audit = "SELECT seq, actor, action, subject, detail->>'id' FROM audit_log ORDER BY seq"
    rows = ask(url, audit)
    assert rows[0][2] == "token create"
    assert rows[1] == (2, "desk-1", "acknowledge", "alert/al1", made["id"])
    assert rows[2][1:4] == ("desk-1", "accept", "allocation/advice")
    whole = run(url, "audit", "verify")
    assert (whole.returncode, whole.stdout[:13]) == (0, "whole: 3 rows"), whole.stderr
    head = run(url, "audit", "head").stdout.strip()
    with psycopg.connect(url) as owner:
        owner.execute("UPDATE audit_log SET actor = 'desk-2' WHERE seq = 2")
    broken = run(url, "audit", "verify")
    assert broken.returncode == 1
    assert "row 2 (desk-2: acknowledge alert/al1) was changed" in broken.stdout
    with psycopg.connect(url) as owner:
        owner.execute("UPDATE audit_log SET actor = 'desk-1' WHERE seq = 2")
        owner.execute("DELETE FROM audit_log WHERE seq = 3")
    assert run(url, "audit", "verify").returncode == 0
    cut = run(url, "audit", "verify", "--head", head)
    assert cut.returncode == 1
    assert "rows 3 to 3 were removed from the end" in cut.stdout


def test_an_administrator_has_a_person_forgotten_on_kafka_and_in_the_database(
    desk: Desk, database: Loader, published: Published
) -> None:
    database.write(
        database.record("city.reports", msgspec.json.encode(report()), []),
        database.record("city.private", msgspec.json.encode(personal()), []),
    )
    answer = desk.decide("admin/forget", pseudonym=SOMEONE)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["sealed_erased"], found["reports_detached"]) == (1, 1)
    published.wait_for(private=1)
    (record,) = published.raw["private"]
    assert (record.key, record.value) == (SOMEONE.encode(), None)
    assert dict(record.headers)["by"] == b"desk-1"
    assert ask(database.url, "SELECT count(*) FROM private.sealed_records") == [(0,)]
    (last,) = ask(database.url, "SELECT actor FROM audit_log WHERE action = 'forget'")
    assert last == ("desk-1",)
