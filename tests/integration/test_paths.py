"""Addresses of things and their methods: ids with slashes in them, and HEAD wherever GET is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from civicstream.city import City, Segment
from civicstream.clock import now_ms
from civicstream.settings import KafkaSettings
from tests.kit.citizen_events import case
from tests.kit.feeds_runs import feeds
from tests.kit.history_runs import CITY, put, put_city
from tests.kit.sink_events import alert, incident
from tests.kit.sink_rows import loader

INCIDENT = "fw001e-006/1795948380000"
"""As the worker makes it: segment, start."""
CASE, ALERT, SEGMENT = "c-1/part/2", "speed-drop/fw001e-006", "A1/north/3"


@pytest.fixture
def client(kafka: KafkaSettings, postgres: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A feeds process whose database has things with such ids."""
    segment = Segment(
        id=SEGMENT,
        area="north",
        corridor="A2",
        position=0,
        road_class="freeway",
        lanes=2,
        length_m=500.0,
        free_flow_kmh=100.0,
        line=((13.0, 52.0), (13.2, 52.2)),
    )
    now = now_ms()
    with loader(postgres) as loaded:
        put_city(postgres, City(CITY.areas, (*CITY.segments, segment), CITY.sensors))
        put(loaded, "incidents", incident(id=INCIDENT), incident(id=INCIDENT, version=2))
        put(loaded, "cases", case(id=CASE))
        put(loaded, "alerts", alert(id=ALERT, updated_at=now, computed_at=now))
        with feeds(kafka, postgres, tmp_path) as front:
            base = front.url.removesuffix("/open311/v2")
            with httpx.Client(base_url=base, trust_env=False, timeout=30) as found:
                yield found


def test_a_thing_is_found_by_its_id_with_slashes_percent_encoded_or_not(
    client: httpx.Client,
) -> None:
    for things, identity in (("incidents", INCIDENT), ("cases", CASE), ("alerts", ALERT)):
        for written in (quote(identity, safe=""), identity):
            answer = client.get(f"/api/v1/{things}/{written}")
            assert answer.status_code == 200, (written, answer.text)
            assert answer.json()["id"] == identity
        missing = client.get(f"/api/v1/{things}/{identity}/more")
        assert missing.status_code == 404
        assert f"{identity}/more" in missing.json()["detail"]
    for written in (quote(SEGMENT, safe=""), SEGMENT):
        assert client.get(f"/api/v1/segments/{written}").json()["id"] == SEGMENT
        usual = client.get(f"/api/v1/segments/{written}/usual").json()
        assert usual["segment"] == SEGMENT
        for below in ("windows", "forecast"):
            assert client.get(f"/api/v1/segments/{written}/{below}").json()["items"] == []
    for written in (quote(quote(ALERT, safe="") + ".1", safe=""), f"{ALERT}.1"):
        assert client.get(f"/cap/alerts/{written}.xml").status_code == 200, written
    assert client.get("/open311/v2/requests/c-1/part/2.json").status_code == 404


def test_head_is_answered_as_get_without_a_body(client: httpx.Client) -> None:
    for path in (
        "/",
        "/api/v1/me",
        "/api/v1/city",
        "/api/v1/segments",
        f"/api/v1/incidents/{INCIDENT}",
        "/api/v1/openapi.json",
        "/cap/alerts.atom",
        "/open311/v2/services.json",
    ):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        for name in ("content-type", "content-length", "etag"):
            assert head.headers.get(name) == got.headers.get(name), (path, name)
    stream = client.head("/api/v1/live")  # a stream without an end: its head has one
    assert (stream.status_code, stream.content) == (200, b"")
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert client.head("/api/v1/nothing").status_code == 404
    refused = client.head("/api/v1/admin/forget")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
