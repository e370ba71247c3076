"""Open311 GeoReport v2 over real HTTP, Kafka and PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from georeport import GeoReport

from civicstream.clock import now_ms
from civicstream.kafka.topic_admin import create_topics
from civicstream.service_events import Report
from civicstream.settings import KafkaSettings
from stack.health import wait_for_report
from stack.servers.processes import free_port
from tests.kit.citizen_events import case
from tests.kit.feeds_runs import API_KEY, Front, Published, feeds, store
from tests.kit.privacy_keys import unseal
from tests.kit.sink_rows import Loader, loader

# The specification's own example, with a service and an attribute of ours.
EXAMPLE = {
    "api_key": API_KEY,
    "jurisdiction_id": "city.gov",
    "service_code": "street_light",
    "lat": "37.76524078",
    "long": "-122.4212043",
    "address_string": "1234 5th street",
    "email": "smit333@sfgov.edu",
    "device_id": "tt222111",
    "account_id": "123456",
    "first_name": "john",
    "last_name": "smith",
    "phone": "111111111",
    "description": "A large sinkhole is destroying the street",
    "media_url": "http://farm3.static.flickr.com/2002/2212426634_5ed477a060.jpg",
    "attribute[fault]": "dark",
    "attribute[pole]": "123456",
}
SECRETS = ("smit333", "sfgov", "tt222111", "smith", "111111111")


@pytest.fixture
def database(postgres: str) -> Iterator[Loader]:
    with loader(postgres) as writer:
        yield writer


@pytest.fixture
def published(kafka: KafkaSettings) -> Iterator[Published]:
    create_topics(kafka)
    reader = Published(kafka)
    yield reader
    reader.close()


@pytest.fixture
def front(
    kafka: KafkaSettings, published: Published, database: Loader, tmp_path: Path
) -> Iterator[Front]:
    with feeds(
        kafka, database.url, tmp_path, feeds__jurisdiction_id="city.gov", feeds__position_decimals=3
    ) as running:
        yield running


def _xml(text: str) -> ElementTree.Element:
    assert text.startswith("<?xml version='1.0' encoding='utf-8'?>")
    return ElementTree.fromstring(text)  # noqa: S314 our own answer


def _report(number: int, **change: Any) -> Report:
    fields: dict[str, Any] = {
        "id": f"{number:032x}",
        "area": "north",
        "service": "pothole",
        "lon": 13.404954,
        "lat": 52.520008,
        "description": "A hole",
        "reported_at": now_ms() - number * 3_600_000,
        "received_at": now_ms() - number * 3_600_000 + 500,
        "channel": "mqtt",
        "reporter": "p" * 32,
        "reference": str(number),
    }
    return Report(**(fields | change))


def test_the_specifications_post_is_on_kafka_when_it_is_answered_and_tells_nobody_who_it_was(
    front: Front, published: Published
) -> None:
    answer = front.post(EXAMPLE)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()
    assert found["account_id"] == "123456"
    assert "token" not in found
    published.wait_for(reports=1, private=1)
    (report,), (personal,) = published.reports, published.personal
    assert report.id == found["service_request_id"] == personal.report
    assert (report.lat, report.lon, report.channel) == (37.765241, -122.421204, "open311")
    assert report.attributes == {"fault": ["dark"], "pole": ["123456"]}
    assert report.address == "1234 5th street"
    shown = repr(published.raw["reports"]) + answer.text.replace("123456", "")
    assert not [secret for secret in SECRETS if secret in shown]
    opened = json.loads(unseal(personal.sealed))
    assert opened["email"] == "smit333@sfgov.edu"
    assert (opened["first_name"], opened["device_id"]) == ("john", "tt222111")


def test_a_post_sent_again_is_the_same_request(front: Front) -> None:
    ids = {front.post(EXAMPLE).json()[0]["service_request_id"] for _ in range(3)}
    key = {"Idempotency_Key": "my-17"}
    keyed = {
        front.post(EXAMPLE | {"lat": lat}, **key).json()[0]["service_request_id"] for lat in "12"
    }
    assert (len(ids), len(keyed)) == (1, 1)
    assert ids != keyed


def test_the_answer_to_a_post_in_xml_has_the_specifications_shape(front: Front) -> None:
    answer = front.post(EXAMPLE, "xml")
    assert answer.headers["content-type"] == "text/xml; charset=utf-8"
    root = _xml(answer.text)
    assert root.tag == "service_requests"
    (request,) = root
    assert [child.tag for child in request] == [
        "service_request_id",
        "service_notice",
        "account_id",
    ]


WRONG: list[tuple[dict[str, str], int, str]] = [
    ({"api_key": "wrong"}, 403, "api_key is missing or invalid"),
    ({"api_key": ""}, 403, "api_key is missing or invalid"),
    ({"jurisdiction_id": "elsewhere"}, 404, "jurisdiction_id was not found"),
    ({"service_code": ""}, 400, "service_code was not provided"),
    ({"service_code": "ufo"}, 404, "unknown_service"),
    ({"lat": ""}, 400, "lat and long must be sent together"),
    ({"lat": "north"}, 400, "decimal degrees"),
    ({"lat": "95"}, 400, "position_out_of_range"),
    ({"lat": "", "long": "", "address_string": ""}, 400, "no location was provided"),
    ({"lat": "", "long": ""}, 400, "address_unknown"),
    ({"attribute[fault]": ""}, 400, "requires attribute[fault]"),
    ({"attribute[fault]": "sings"}, 400, "expected one of dark, flickers"),
    ({"attribute[colour]": "red"}, 400, "unknown_attribute"),
    ({"media_url": "ftp://x/y"}, 400, "media_url_malformed"),
    ({"description": "x" * 4001}, 400, "at most 4000"),
    ({"description": "x" * 70_000}, 413, "larger than 65536 bytes"),
]


def test_a_wrong_post_is_refused_in_both_formats_and_nothing_is_published(
    front: Front, published: Published
) -> None:
    for change, status, words in WRONG:
        in_json = front.post(EXAMPLE | change)
        assert in_json.status_code == status, change
        (error,) = in_json.json()
        assert error["code"] == status
        assert words in error["description"]
        in_xml = front.post(EXAMPLE | change, "xml")
        root = _xml(in_xml.text)
        assert (in_xml.status_code, root.tag, root[0].tag) == (status, "errors", "error")
        assert [child.text for child in root[0]] == [str(status), error["description"]]
    published.refresh(500)
    assert not published.raw["reports"]
    assert not published.raw["private"]


def test_services_and_their_definitions_in_both_formats(front: Front) -> None:
    services = front.get("services.json", jurisdiction_id="city.gov").json()
    assert len(services) >= 14
    light = next(s for s in services if s["service_code"] == "street_light")
    assert (light["metadata"], light["type"], light["group"]) == (True, "realtime", "lighting")
    root = _xml(front.get("services.xml").text)
    assert (root.tag, root[0].tag, len(root)) == ("services", "service", len(services))
    definition = front.get("services/street_light.json").json()
    fault = definition["attributes"][0]
    assert (fault["code"], fault["required"], fault["order"]) == ("fault", True, 1)
    assert {"key": "dark", "name": "Does not light"} in fault["values"]
    root = _xml(front.get("services/street_light.xml").text)
    assert root.tag == "service_definition"
    assert root.findtext("attributes/attribute/values/value/key") == "dark"
    assert root.findtext("attributes/attribute/required") == "true"
    assert front.get("services/ufo.json").json()[0]["code"] == 404
    assert front.get("services.json", jurisdiction_id="elsewhere").status_code == 404


def test_a_request_is_shown_with_the_state_of_its_case_rounded_and_without_its_reporter(
    front: Front, database: Loader
) -> None:
    report = _report(1, address="12 Private Road", description='A "hole" & <b>more</b> \u2615')
    updated = 1_795_249_530_000  # 2026-11-21T08:25:30Z
    first = case(latest_report=report.id, updated_at=updated - 60_000)
    note = "Crew on site, call 030 1234567"
    newer = case(version=2, state="in_progress", latest_report=None, updated_at=updated, note=note)
    store(database, report, first, newer)
    (found,) = front.get(f"requests/{report.id}.json").json()
    assert (found["lat"], found["long"]) == (52.52, 13.405)
    assert (found["status"], found["status_notes"]) == (
        "open",
        "in progress: Crew on site, call […]",
    )
    assert found["updated_datetime"] == "2026-11-21T08:25:30Z"
    assert (found["agency_responsible"], found["address"]) == ("Roads", None)
    assert found["description"] == report.description
    assert not {"reporter", "reference"} & found.keys()
    assert report.reporter not in json.dumps(found)
    root = _xml(front.get(f"requests/{report.id}.xml").text)
    assert (root.tag, root[0].tag) == ("service_requests", "request")
    assert root.findtext("request/description") == report.description
    assert front.get(f"requests/{'f' * 32}.json").status_code == 404
    token = front.get(f"tokens/{report.id}.json").json()
    assert token == [{"service_request_id": report.id, "token": report.id}]
    assert front.get("tokens/unknown.xml").status_code == 404


def test_lists_follow_the_specifications_filters(front: Front, database: Loader) -> None:
    moment = datetime.now(UTC)
    old_ones = [_report(hours) for hours in (91 * 24, 100 * 24)]
    new_ones = [_report(n, service="noise" if n == 2 else "pothole") for n in range(1, 5)]
    states = {1: "received", 2: "resolved", 3: "rejected"}
    cases = [case(id=f"c{n}", state=s, latest_report=f"{n:032x}") for n, s in states.items()]
    store(database, *old_ones, *new_ones, *cases)

    def ids(**query: str) -> list[int]:
        found = front.get("requests.json", **query)
        assert found.status_code == 200, found.text
        return [int(request["service_request_id"], 16) for request in found.json()]

    assert ids() == [1, 2, 3, 4]
    assert ids(status="open") == [1, 4]
    assert ids(status="closed") == [2, 3]
    assert ids(status="open,closed") == [1, 2, 3, 4]
    assert ids(service_code="noise") == [2]
    assert ids(service_code="noise, pothole,unknown") == [1, 2, 3, 4]
    many = ",".join(f"{number:032x}" for number in (3, 91 * 24, 4242))
    assert ids(service_request_id=many, status="open", start_date="nonsense") == [3, 91 * 24]
    old = (moment - timedelta(days=95)).isoformat()
    assert ids(end_date=old) == [100 * 24]
    assert ids(start_date=old, end_date=(moment - timedelta(days=10)).isoformat()) == [91 * 24]
    assert len(_xml(front.get("requests.xml", status="open").text)) == 2
    for wrong in (
        {"start_date": old, "end_date": moment.isoformat()},
        {"start_date": "2026-01-01"},
        {"status": "asleep"},
    ):
        answer = front.get("requests.json", **wrong)
        assert (answer.status_code, answer.json()[0]["code"]) == (400, 400)


def test_at_most_a_thousand_requests_are_listed_the_newest_first(
    front: Front, database: Loader
) -> None:
    store(database, *(_report(n, reported_at=now_ms() - n * 60_000) for n in range(1, 1006)))
    found = front.get("requests.json").json()
    assert len(found) == 1000
    assert [int(found[n]["service_request_id"], 16) for n in (0, -1)] == [1, 1000]


def test_a_client_written_by_others_reads_services_and_requests(
    front: Front, database: Loader
) -> None:
    store(database, _report(1))
    store(database, _report(2, service="noise"))
    for form in ("json", "xml"):
        client = GeoReport(front.url, jurisdiction="city.gov", output_format=form)
        codes = [service["service_code"] for service in client.get_service_list()]
        assert {"pothole", "noise"} <= set(codes)
        definition = client.get_service_definition("street_light")
        assert definition["service_code"] == "street_light"
        assert len(client.get_service_requests(status="open")) == 2
        one = client.get_service_request(f"{2:032x}")
        assert (one["service_code"], one["status"]) == ("noise", "open")


def test_a_flood_is_answered_with_429_and_a_time_to_wait(
    kafka: KafkaSettings, published: Published, database: Loader, tmp_path: Path
) -> None:
    with feeds(kafka, database.url, tmp_path, reports__burst=3) as front:
        answers = [front.post(EXAMPLE | {"reference": f"flood-{n}"}) for n in range(5)]
        other = front.post(EXAMPLE | {"device_id": "another", "reference": "flood-9"})
        ledger = wait_for_report(kafka, "feeds", "f1", timeout_s=20)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    counts = ledger.kinds["report"]
    assert (counts.received, counts.accepted, counts.rejected, counts.imbalance) == (6, 4, 2, 0)
    assert ledger.gauges["rate_limited"] == 2
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert other.status_code == 200


def test_without_a_privacy_key_reports_are_refused_and_the_rest_is_served(
    kafka: KafkaSettings, published: Published, database: Loader, tmp_path: Path
) -> None:
    store(database, _report(1))
    with feeds(kafka, database.url, tmp_path, privacy__public_key=None) as front:
        answer = front.post(EXAMPLE)
        assert (answer.status_code, answer.json()[0]["code"]) == (503, 503)
        assert len(front.get("requests.json").json()) == 1
    assert "CIVICSTREAM_PRIVACY__PUBLIC_KEY" in (tmp_path / "feeds.log").read_text()


def test_what_kafka_has_not_confirmed_is_not_answered_as_taken(
    kafka: KafkaSettings, published: Published, database: Loader, tmp_path: Path, tcp_proxy: Any
) -> None:
    proxy = tcp_proxy(1)  # nothing listens there: Kafka is away
    away = kafka.model_copy(update={"bootstrap": f"127.0.0.1:{proxy.port}"})
    with feeds(away, database.url, tmp_path, feeds__confirm_timeout_s=2) as front:
        answer = front.post(EXAMPLE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert front.get("services.json").status_code == 200
    published.refresh(500)
    assert not published.raw["reports"]
    with feeds(kafka, database.url, tmp_path) as front:
        assert front.post(EXAMPLE).status_code == 200
    published.wait_for(reports=1)


def test_many_citizens_at_once_are_all_answered_and_each_report_is_there_once(
    front: Front, published: Published
) -> None:
    def post(number: int) -> str:
        answer = front.post(EXAMPLE | {"device_id": f"phone-{number}"})
        assert answer.status_code == 200, answer.text
        found: str = answer.json()[0]["service_request_id"]
        return found

    with ThreadPoolExecutor(16) as citizens:
        ids = list(citizens.map(post, range(200)))
    published.wait_for(reports=200, private=200)
    assert sorted(report.id for report in published.reports) == sorted(ids)
    assert {personal.report for personal in published.personal} == set(ids)


def test_while_the_database_is_away_reading_is_answered_503_and_reports_are_taken(
    kafka: KafkaSettings, published: Published, tmp_path: Path
) -> None:
    nowhere = f"host=127.0.0.1 port={free_port()} dbname=none"
    with feeds(kafka, nowhere, tmp_path) as front:
        answer = front.get("requests.xml")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert _xml(answer.text).findtext("error/code") == "503"
        assert front.post(EXAMPLE).status_code == 200
    published.wait_for(reports=1, private=1)


def test_the_commands_of_the_docs_post_a_report_and_find_it(front: Front, database: Loader) -> None:
    """The two curl commands as docs/reports.md has them, with this server's address and key."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    text = (Path(__file__).parents[2] / "docs" / "reports.md").read_text(encoding="utf-8")
    commands = re.findall(r"^curl (?:.*\\\n)*.*$", text, re.MULTILINE)
    assert len(commands) == 2
    said = []
    for command in commands:
        here = command.replace("http://127.0.0.1:8311/open311/v2", front.url)
        asked = ["bash", "-c", f"{here.replace('curl', 'curl --noproxy 127.0.0.1 -s')}"]
        done = subprocess.run(
            asked, env=os.environ | {"KEY": API_KEY}, capture_output=True, check=True, timeout=30
        )
        said.append(json.loads(done.stdout))
    assert len(said[0][0]["service_request_id"]) == 32
    assert said[1] == []  # no sink runs here


def test_every_answer_carries_security_headers_and_errors_are_never_pages(front: Front) -> None:
    for answer in (
        front.get("services.json"),
        front.get("services.html"),
        front.get("nothing/here/at.all"),
        front.post(EXAMPLE, "json", Content_Type="multipart/form-data"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in answer.headers
        assert answer.headers["content-type"].startswith(("application/json", "text/xml"))
    assert front.get("services.html").status_code == 404
