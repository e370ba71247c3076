"""The history API over what the sink has written, on both databases."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import psycopg
import pyarrow as pa
import pytest

from civicstream.events import Alert, DeadLetter, Incident, TrafficResult
from civicstream.topics import topic_name
from tests.kit.citizen_events import action, allocation, case, demand, report, unit
from tests.kit.history_runs import (
    CITY,
    Api,
    history,
    noise_result,
    put,
    put_city,
    row,
    traffic,
)
from tests.kit.sink_events import AT, MINUTE, anomaly, forecast, forecast_row, health, incident
from tests.kit.sink_rows import Loader, loader, noise

HOUR = 60 * MINUTE
NOW = AT + 5 * MINUTE
SENSOR = int(CITY.sensor_keys[0])
SPAN = {"from_": AT - HOUR, "to": AT + HOUR}


def alert(**changes: Any) -> Alert:
    return msgspec.structs.replace(
        Alert(
            id="al1",
            version=1,
            state="active",
            change="raised",
            rule="congestion",
            key="congestion/s1",
            severity="severe",
            area="north",
            subject="segment/s1",
            headline="s1 is slow",
            started_at=AT,
            updated_at=AT,
            computed_at=AT + 30_000,
            value=12.0,
            threshold=20.0,
            lon=13.1,
            lat=52.1,
        ),
        **changes,
    )


def dead_letter(**changes: Any) -> DeadLetter:
    return msgspec.structs.replace(
        DeadLetter(
            stage="gateway",
            reason="out_of_range",
            detail="occupancy 1.4 is outside 0..1",
            topic="city/v1/traffic/north/t1",
            received_at=AT,
            payload=b"x" * 3000,
            payload_bytes=3000,
        ),
        **changes,
    )


@dataclass
class Filled:
    loaded: Loader
    api: Api


def traffic_results() -> list[TrafficResult]:
    """Half an hour of two segments in the north, a minute of one in the south."""
    north = [
        traffic(AT - n * MINUTE, row("s1", 10 + n, 40.0 + n), row("s2", 20, 80.0))
        for n in range(30, 0, -1)
    ]
    return [*north, traffic(AT - MINUTE, row("s3", 5, 50.0), area="south")]


def incidents() -> list[Incident]:
    later = AT + MINUTE
    confirmed: dict[str, Any] = {"version": 2, "state": "confirmed", "severity": 0.7}
    return [
        incident(segment="s1"),
        incident(segment="s1", window_end=later, last_evidence=later, **confirmed),
    ]


def alerts() -> list[Alert]:
    acknowledged: dict[str, Any] = {"acknowledged_by": "ann", "acknowledged_at": AT + MINUTE}
    return [
        alert(),
        alert(version=2, change="acknowledged", updated_at=AT + MINUTE, **acknowledged),
    ]


def dead_letters() -> list[DeadLetter]:
    report_topic = "city/v1/report/north/phone-7"
    personal: dict[str, Any] = {"kind": "report", "payload": b"somebody"}
    return [
        dead_letter(),
        dead_letter(topic=report_topic, detail="an address of somebody", **personal),
    ]


def some_of_everything() -> dict[str, list[Any]]:
    """Return topic -> events."""
    return {
        "results.traffic": traffic_results(),
        "results.environment": [noise_result(AT - n * MINUTE, 60, 5) for n in (3, 2, 1)],
        "incidents": incidents(),
        "health": [health(sensor_key=SENSOR), health()],
        "anomalies": [anomaly(sensor_key=SENSOR)],
        "forecasts": [
            forecast(forecast_row("s1", [50.0, None]), made_at=AT - 40 * MINUTE),
            forecast(forecast_row("s1", [55.0, 60.0], [900.0, None])),
        ],
        "reports": [report()],
        "cases": [case(), case(version=2, state="acknowledged", updated_at=AT + MINUTE)],
        "units": [unit(at=AT - MINUTE, lon=13.3), unit()],
        "allocations": [allocation()],
        "demand": [demand()],
        "actions": [action()],
        "alerts": alerts(),
        "deadletter": dead_letters(),
    }


@pytest.fixture
def filled(database: str) -> Iterator[Filled]:
    """A city with some of everything, written by the sink, at ``NOW``."""
    with loader(database) as loaded:
        put_city(database)
        for topic, events in some_of_everything().items():
            put(loaded, topic, *events)
        loaded.write(loaded.frame(noise("north", [(0, AT, 60.0)]), ingested_at=AT))
        with history(database, now=NOW) as api:
            yield Filled(loaded, api)


def example_of(parameter: dict[str, Any]) -> str:
    known = {"area": "north"}
    return str(known.get(parameter["name"], parameter["example"]))


IDS = {"incidents": "i1", "cases": "c1", "alerts": "al1", "segments": "s1"}


def test_every_path_of_the_document_answers_with_what_it_promises(filled: Filled) -> None:
    document = filled.api.get("openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert len(document["paths"]) > 25
    operations = set()
    for path, methods in document["paths"].items():
        described = methods["get"]
        assert described["summary"]
        operations.add(described["operationId"])
        parameters = described.get("parameters", [])
        assert all(p["description"] and p["schema"] for p in parameters), path
        assert set(re.findall(r"{(\w+)}", path)) == {
            p["name"] for p in parameters if p["in"] == "path"
        }
        assert {"200", "304", "400", "503"} <= set(described["responses"]), path
        place = path.strip("/").replace("{area}", "north")
        place = place.replace("{id}", IDS.get(place.split("/")[0], ""))
        names = {p["name"] for p in parameters}
        query = SPAN if "from" in names else {}
        answer = filled.api.get(place, **query)
        assert answer.status_code == 200, (path, answer.text)
        content = described["responses"]["200"]["content"]
        media = answer.headers["content-type"].split(";")[0]
        check_schema(answer.json(), content[media]["schema"], path)
        for form in {"csv", "geojson", "arrow"} & set(
            next((p["schema"]["enum"] for p in parameters if p["name"] == "format"), ())
        ):
            other = filled.api.get(place, **query, format=form)
            assert other.status_code == 200
            assert other.headers["content-type"].split(";")[0] in content
            assert other.content
    assert len(operations) == len(document["paths"])


def check_schema(value: Any, schema: dict[str, Any], place: str) -> None:
    """Check a value against the part of JSON schema that the document uses."""
    if "oneOf" in schema:
        schema = schema["oneOf"][0] if value is not None else schema["oneOf"][1]
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    python: dict[str, Any] = {
        "string": str,
        "integer": int,
        "number": (int, float),
        "null": type(None),
        "array": list,
        "object": dict,
        "boolean": bool,
    }
    assert any(isinstance(value, python[t]) for t in types), (place, value, schema)
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema.get("required", ())) <= set(value), place
        for name, inner in value.items():
            assert name in schema["properties"], (place, name)
            check_schema(inner, schema["properties"][name], f"{place}.{name}")
    if isinstance(value, list) and "items" in schema:
        for inner in value:
            check_schema(inner, schema["items"], place + "[]")


def test_every_list_has_what_the_sink_wrote(filled: Filled) -> None:
    found = {
        path: filled.api.items(path, **SPAN)
        for path in ("incidents", "anomalies", "cases", "alerts", "allocations", "actions")
    }
    assert {path: len(items) for path, items in found.items()} == dict.fromkeys(found, 1)
    assert found["incidents"][0]["state"] == "confirmed"
    assert found["incidents"][0]["lon"] == pytest.approx(13.1)  # halfway along s1
    assert found["cases"][0]["confirmed_by"] == ["sensor/7", "incident/i1"]
    assert found["alerts"][0]["acknowledged_by"] == "ann"
    assert found["allocations"][0]["route"] == ["s1", "s2"]
    assert [u["lon"] for u in filled.api.items("units")] == [13.4]
    assert {s["id"]: s["health"] for s in filled.api.items("sensors")}[str(SENSOR)] == "stuck"
    assert [a["segments"] for a in filled.api.items("areas")] == [2, 1]
    assert filled.api.items("segments", area="south")[0]["geometry"]["type"] == "LineString"


FILTERED: list[tuple[str, dict[str, str], int]] = [
    ("incidents", {"min_severity": "0.7"}, 1),
    ("incidents", {"min_severity": "0.71"}, 0),
    ("incidents", {"state": "suspected"}, 0),
    ("incidents", {"bbox": "13,52,13.2,52.2"}, 1),
    ("incidents", {"bbox": "13.2,52,13.4,52.2"}, 0),
    ("cases", {"state": "acknowledged,assigned", "agency": "Roads"}, 1),
    ("cases", {"service": "graffiti"}, 0),
    ("alerts", {"min_severity": "severe", "rule": "congestion"}, 1),
    ("alerts", {"min_severity": "extreme"}, 0),
    ("sensors", {"kind": "noise", "health": "stuck"}, 1),
    ("dead-letters", {"reason": "out_of_range", "stage": "gateway"}, 2),
    ("forecasts", {"segment": "s1", "horizon_min": "15"}, 2),
    ("actions", {"subject": "case/c1", "by": "operator-3"}, 1),
    ("environment", {"kind": "noise", "measure": "LAeq", "area": "north"}, 3),
    ("environment", {"kind": "air"}, 0),
]


def test_filters_leave_what_they_say(filled: Filled) -> None:
    for path, query, count in FILTERED:
        span = {} if path == "sensors" else SPAN
        assert len(filled.api.items(path, **span, **query)) == count, (path, query)


def test_a_thing_shows_all_its_versions_and_an_unknown_one_is_404(filled: Filled) -> None:
    for path, identity in (("incidents", "i1"), ("cases", "c1"), ("alerts", "al1")):
        found = filled.api.get(f"{path}/{identity}").json()
        assert [v["version"] for v in found["versions"]] == [1, 2]
        assert found["current"] == found["versions"][1]
        missing = filled.api.get(f"{path}/nothing")
        assert missing.status_code == 404
        assert missing.headers["content-type"] == "application/problem+json"
    for path in ("segments/s9", "segments/s9/windows", "segments/s9/usual", "areas/x/windows"):
        assert filled.api.get(path).status_code == 404


def all_pages(api: Api, path: str, between: Any = None, **query: object) -> list[dict[str, Any]]:
    found, answer = [], api.get(path, **query)
    while True:
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        if "link" not in answer.headers:
            assert answer.json()["next"] is None
            return found
        target, relation = answer.headers["link"].split("; ")
        assert relation == 'rel="next"'
        if between:
            between()
        following = dict(parse_qsl(target.strip("<>?"), keep_blank_values=True))
        answer = api.get(path, **following)


def test_pages_show_each_row_once_while_new_ones_come_in(filled: Filled) -> None:
    put(filled.loaded, "cases", *(case(id=f"p{n}", opened_at=AT - n // 2) for n in range(25)))
    before = {c["id"] for c in filled.api.items("cases", **SPAN)}
    number = iter(range(1000))

    def newer() -> None:
        n = next(number)
        put(filled.loaded, "cases", case(id=f"new{n}", opened_at=AT + MINUTE + n))
        put(filled.loaded, "cases", case(id="p9", version=2 + n, opened_at=AT - 4, updated_at=NOW))

    paged = [c["id"] for c in all_pages(filled.api, "cases", newer, **SPAN, limit=4)]
    assert len(paged) == len(set(paged))
    assert set(paged) == before


KEYS: list[tuple[str, tuple[str, ...]]] = [
    ("segments/s1/windows", ("window_start",)),
    ("environment", ("window_start", "area", "kind", "measure")),
    ("forecasts", ("made_at", "segment", "horizon_min")),
    ("sensor-health", ("window_end", "sensor_key")),
    ("dead-letters", ("id",)),
    ("audit", ("seq",)),
]


def test_pages_joined_are_the_whole(filled: Filled) -> None:
    for path, key in KEYS:
        whole = filled.api.items(path, **SPAN)
        assert len(whole) > 1 or path == "audit"
        assert all_pages(filled.api, path, **SPAN, limit=1) == whole
        assert len({tuple(item[k] for k in key) for item in whole}) == len(whole)


def test_a_csv_longer_than_a_page_is_sent_whole(filled: Filled, database: str) -> None:
    wanted = filled.api.items("segments/s1/windows", **SPAN)
    with history(database, now=NOW, max_rows=7, max_csv_rows=25) as api:
        assert len(api.items("segments/s1/windows", **SPAN)) == 7
        assert api.get("segments/s1/windows", **SPAN, limit=8).status_code == 400
        for limit in (8, 14, 25):
            text = api.get("segments/s1/windows", **SPAN, format="csv", limit=limit).text
            lines = list(csv.DictReader(io.StringIO(text)))
            assert [float(line["vehicles"]) for line in lines] == [
                item["vehicles"] for item in wanted[:limit]
            ]


def test_arrow_geojson_and_csv_say_the_same_as_json(filled: Filled) -> None:
    wanted = filled.api.items("segments/s1/windows", **SPAN)
    stream = filled.api.get("segments/s1/windows", **SPAN, format="arrow").content
    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    assert table.column("space_mean_speed_kmh").to_pylist() == [
        item["space_mean_speed_kmh"] for item in wanted
    ]
    starts = table.column("window_start").cast(pa.int64()).to_pylist()
    assert starts == [item["window_start"] for item in wanted]
    features = filled.api.get("cases", **SPAN, format="geojson").json()["features"]
    assert features[0]["geometry"]["coordinates"] == [13.4, 52.5]
    assert features[0]["properties"]["state"] == "acknowledged"


def test_what_has_not_changed_is_304_and_what_has_is_sent(filled: Filled) -> None:
    first = filled.api.get("cases", **SPAN)
    etag = {"If-None-Match": first.headers["etag"]}
    assert filled.api.get("cases", etag, **SPAN).status_code == 304
    put(filled.loaded, "cases", case(version=3, state="resolved", updated_at=AT + 2 * MINUTE))
    assert filled.api.get("cases", etag, **SPAN).status_code == 200


def test_dead_letters_show_neither_text_nor_sender_of_a_refused_report(filled: Filled) -> None:
    answer = filled.api.get("dead-letters", **SPAN)
    assert "phone-7" not in answer.text
    assert "somebody" not in answer.text
    by_topic = {item["topic"]: item for item in answer.json()["items"]}
    assert by_topic["report"]["payload"] is None
    plain = by_topic["city/v1/traffic/north/t1"]
    assert (len(plain["payload"]), plain["payload_bytes"]) == (-(-1024 // 3) * 4, 3000)


def test_nothing_tells_who_reported(filled: Filled) -> None:
    texts = [filled.api.get(p, **SPAN).text for p in ("cases", "actions", "audit", "dead-letters")]
    texts.append(filled.api.get("cases/c1").text)
    for secret in (report().reporter, report().address, report().media_url):
        assert all(str(secret) not in text for text in texts)


def test_the_state_at_a_moment_is_what_was_known_to_have_happened(filled: Filled) -> None:
    state = filled.api.get("state", at=AT).json()["state"]
    assert {s["id"]: s["space_mean_speed_kmh"] for s in state["segments"]} == {
        "s1": 41.0,
        "s2": 80.0,
        "s3": 50.0,
    }
    assert state["segments"][0]["window_end"] == AT
    assert [i["version"] for i in state["incidents"]] == [1]
    assert [c["state"] for c in state["cases"]] == ["received"]
    assert [a["change"] for a in state["alerts"]] == ["raised"]
    assert [u["lon"] for u in state["units"]] == [13.4]
    assert state["forecasts"][0]["horizons_min"] == [15, 30]
    assert state["forecasts"][0]["flow_veh_h"] == [900.0, None]
    assert {h["id"] for h in state["health"]} == {str(SENSOR), "-7"}
    assert [e["id"] for e in state["environment"]] == ["north/noise/LAeq"]
    assert len(state["allocations"]) == len(state["demand"]) == len(state["anomalies"]) == 1

    earlier = filled.api.get("state", at=AT - 10 * MINUTE).json()["state"]
    assert {s["id"]: s["space_mean_speed_kmh"] for s in earlier["segments"]} == {
        "s1": 51.0,
        "s2": 80.0,
    }
    assert earlier["incidents"] == earlier["cases"] == earlier["alerts"] == earlier["units"] == []
    assert earlier["forecasts"] == []  # that of forty minutes ago was too old then

    later = filled.api.get("state", at=NOW, topics="incidents,cases").json()["state"]
    assert set(later) == {"incidents", "cases"}
    assert later["incidents"][0]["state"] == "confirmed"


def test_what_has_ended_stays_in_the_state_for_some_minutes(filled: Filled) -> None:
    put(filled.loaded, "cases", case(version=3, state="resolved", updated_at=AT + 2 * MINUTE))
    with history(filled.loaded.url, now=AT + HOUR, live_linger_s=300) as api:
        for at, states in ((AT + 6 * MINUTE, ["resolved"]), (AT + 8 * MINUTE, [])):
            cases = api.get("state", at=at, topics="cases").json()["state"]["cases"]
            assert [c["state"] for c in cases] == states


def test_a_state_of_the_future_is_refused(filled: Filled) -> None:
    assert filled.api.get("state", at=NOW + 1).status_code == 400
    assert "choose from" in filled.api.get("state", topics="weather").json()["detail"]


def test_the_ledger_adds_up(filled: Filled) -> None:
    found = filled.api.get("ledger").json()
    (of_noise,) = [k for k in found["kinds"] if k["kind"] == "noise"]
    assert of_noise["received"] == of_noise["accepted"] == of_noise["readings"] == 1
    assert found["problems"] == []
    topics = {o["topic"] for o in found["offsets"]}
    assert topic_name("city", "cases") in topics


WRONG: list[tuple[dict[str, str], str]] = [
    ({"stat": "open"}, "stat"),
    ({"from_": "yesterday"}, "from"),
    ({"limit": "0"}, "limit"),
    ({"state": "closed"}, "state"),
    ({"cursor": "x"}, "cursor"),
    ({"bbox": "1,2"}, "bbox"),
    ({"format": "xlsx"}, "format"),
    ({"area": "a\0b"}, "area"),
]


def test_a_wrong_parameter_is_a_problem_that_names_it(filled: Filled) -> None:
    for query, parameter in WRONG:
        answer = filled.api.get("cases", **query)
        assert answer.status_code == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["parameter"] == parameter
        assert answer.json()["title"] == "Bad Request"


def test_sql_in_a_parameter_is_a_value_like_any_other(filled: Filled) -> None:
    hostile = "x'; DROP TABLE cases; --"
    assert filled.api.items("cases", **SPAN, area=hostile) == []
    assert filled.api.get(f"cases/{hostile}").status_code == 404
    assert len(filled.api.items("cases", **SPAN)) == 1


def test_the_city_is_geojson_whether_from_a_model_or_the_database(
    filled: Filled, database: str
) -> None:
    stored = filled.api.get("city").json()["features"]
    with history(database, city=CITY) as api:
        answer = api.get("city")
        etag = {"If-None-Match": answer.headers["etag"]}
        assert api.get("city", etag).status_code == 304
    modelled = answer.json()["features"]
    assert {f["id"] for f in stored} >= {f["id"] for f in modelled}
    one = {f["id"]: f for f in stored}["segment/s1"]
    other = {f["id"]: f for f in modelled}["segment/s1"]
    assert one["geometry"] == other["geometry"]
    assert one["properties"] == other["properties"]


def test_without_a_database_it_says_so_and_when_to_come_back(database: str) -> None:
    nowhere = psycopg.conninfo.make_conninfo(database, dbname="not_there")
    with history(nowhere, now=NOW) as api:
        answer = api.get("cases")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["title"] == "Service Unavailable"


def test_without_a_schema_it_says_what_to_run(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(
            "DO $$ BEGIN CREATE ROLE civicstream_reader LOGIN PASSWORD "
            "'civicstream_reader'; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
    with history(database, now=NOW) as api:
        answer = api.get("cases")
    assert answer.status_code == 503
    assert "civicstream init" in answer.json()["detail"]


def test_open_data_is_off_unless_it_is_switched_on(filled: Filled, database: str) -> None:
    assert filled.api.get("/open/v1/cases").status_code == 404
    with history(database, now=NOW, open_data=True, position_decimals=1) as api:
        answer = api.get("/open/v1/cases", **SPAN)
        (found,) = answer.json()["items"]
        assert (found["lon"], found["lat"]) == (13.4, 52.5)
        assert not {"description", "note", "changed_by", "latest_report"} & set(found)
        assert 'rel="license"' in answer.headers["link"]
        for path in ("segments", "incidents", "environment", "segments/s1/windows"):
            assert api.get(f"/open/v1/{path}").status_code == 200
        for path in ("actions", "audit", "units", "state", "dead-letters"):
            assert api.get(f"/open/v1/{path}").status_code == 404


def test_a_small_box_does_not_find_the_exact_place_of_a_case(filled: Filled, database: str) -> None:
    put(filled.loaded, "cases", case(id="c7", lon=13.4321, lat=52.5432))
    with history(database, now=NOW, open_data=True, position_decimals=2) as api:
        exact = api.get("/open/v1/cases", **SPAN, bbox="13.432,52.543,13.4322,52.5434")
        around = api.get("/open/v1/cases", **SPAN, bbox="13.429,52.539,13.431,52.541")
    assert exact.json()["items"] == []
    assert [c["id"] for c in around.json()["items"]] == ["c7"]
