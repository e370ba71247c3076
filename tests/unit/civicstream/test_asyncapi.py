"""The AsyncAPI document is complete, consistent, and agrees with real readings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from civicstream.asyncapi import document
from civicstream.events import (
    Alert,
    Anomaly,
    ForecastRow,
    FrameGap,
    Incident,
    SensorHealth,
    TrafficForecast,
    TrafficResult,
)
from civicstream.kinds import KINDS
from civicstream.service_events import (
    Action,
    Allocation,
    Case,
    CrewAction,
    Demand,
    PersonalRecord,
    Report,
    Unit,
)
from civicstream.settings import Settings
from civicstream.topics import TOPICS, parse_mqtt_topic
from ingest import report_messages, unit_messages

DOCUMENT = msgspec.json.decode(msgspec.json.encode(document(Settings())))


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _resolve(reference: str) -> Any:
    assert reference.startswith("#/")
    node = DOCUMENT
    for step in reference[2:].split("/"):
        node = node[step.replace("~1", "/").replace("~0", "~")]
    return node


def test_every_reference_resolves() -> None:
    references = set(_references(DOCUMENT))
    assert len(references) > len(KINDS)
    for reference in references:
        assert isinstance(_resolve(reference), dict), reference


def test_the_document_has_what_asyncapi_3_requires() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    for server in DOCUMENT["servers"].values():
        assert {"host", "protocol"} <= set(server)
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert set(_resolve(operation["channel"]["$ref"])) >= {"address", "messages"}


def test_every_channel_has_an_operation() -> None:
    used = {operation["channel"]["$ref"] for operation in DOCUMENT["operations"].values()}
    assert used == {f"#/channels/{name}" for name in DOCUMENT["channels"]}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kinds_channel_is_the_topic_that_the_gateway_takes_apart(kind: str) -> None:
    channel = DOCUMENT["channels"][f"mqtt.{kind}"]
    topic = channel["address"].format(area="centre", sensor="A7")
    parsed = parse_mqtt_topic(topic, "city/v1")
    assert parsed is not None
    assert (parsed.kind, parsed.area, parsed.sensor) == (kind, "centre", "A7")
    assert set(channel["parameters"]) == {"area", "sensor"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_readings_schema_has_every_measure_with_unit_and_range(kind: str) -> None:
    schema = DOCUMENT["components"]["schemas"][f"reading.{kind}"]
    for measure in KINDS[kind].measures:
        declared = schema["properties"][measure.name]
        assert declared["x-unit"] == measure.unit
        assert declared["minimum"] == measure.minimum
        assert declared["maximum"] == measure.maximum
        assert (measure.name in schema["required"]) == measure.required


def test_kafka_addresses_are_declared_topics() -> None:
    addresses = {c["address"] for n, c in DOCUMENT["channels"].items() if n.startswith("kafka.")}
    assert addresses <= {f"city.{name}" for name in TOPICS}
    assert {f"city.frames.{kind}" for kind in KINDS} <= addresses


@pytest.mark.parametrize(
    ("topic", "event"),
    [
        ("results.traffic", TrafficResult),
        ("incidents", Incident),
        ("forecasts", TrafficForecast),
        ("health", SensorHealth),
        ("anomalies", Anomaly),
        ("alerts", Alert),
        ("gaps", FrameGap),
        ("reports", Report),
        ("cases", Case),
        ("units", Unit),
        ("allocations", Allocation),
        ("demand", Demand),
        ("actions", Action),
        ("crew_actions", CrewAction),
        ("private", PersonalRecord),
    ],
)
def test_an_events_channel_leads_to_a_schema_with_all_its_fields(
    topic: str, event: type[msgspec.Struct]
) -> None:
    message = DOCUMENT["channels"][f"kafka.{topic}"]["messages"][topic]
    schema = _resolve(_resolve(message["$ref"])["payload"]["$ref"])
    assert list(schema["properties"]) == list(event.__struct_fields__)
    assert set(schema["required"]) == {
        field.name for field in msgspec.structs.fields(event) if field.required
    }


def test_what_may_be_missing_in_a_forecast_may_be_null() -> None:
    row = _resolve(f"#/components/schemas/{ForecastRow.__name__}")
    low = row["properties"]["speed_low_kmh"]
    assert {kind["type"] for kind in low["items"]["anyOf"]} == {"number", "null"}


def test_a_sensors_health_is_one_of_the_declared_states() -> None:
    health = _resolve(f"#/components/schemas/{SensorHealth.__name__}")["properties"]["health"]
    assert {"ok", "stuck", "silent", "drifting"} < set(health["enum"])


@pytest.mark.parametrize(
    ("name", "decoded"),
    [
        ("report", [report_messages._Message]),
        ("unit", [unit_messages._State, unit_messages._Decision]),
    ],
)
def test_what_citizens_and_crews_send_is_what_the_gateway_decodes(
    name: str, decoded: list[type[msgspec.Struct]]
) -> None:
    channel = DOCUMENT["channels"][f"mqtt.{name}"]
    parsed = parse_mqtt_topic(channel["address"].format(area="a", client="x", unit="x"), "city/v1")
    assert parsed is not None
    assert (parsed.kind, parsed.area, parsed.sensor) == (name, "a", "x")
    payload = _resolve(channel["messages"][name]["$ref"])["payload"]
    schemas = payload.get("oneOf", [payload])
    for schema, event in zip(schemas, decoded, strict=True):
        fields = msgspec.structs.fields(event)
        assert list(schema["properties"]) == [field.encode_name for field in fields]
        assert schema["required"] == [f.encode_name for f in fields if f.required]
        own = msgspec.json.schema(event)["$defs"][event.__name__]["properties"]
        for field, declared in schema["properties"].items():
            assert set(declared.get("enum", ())) == set(own[field].get("enum", ())), field


def test_sealed_records_are_compacted_and_deleted() -> None:
    kafka = DOCUMENT["channels"]["kafka.private"]["bindings"]["kafka"]
    configured = kafka["topicConfiguration"]
    assert configured["cleanup.policy"] == ["compact", "delete"]
    assert configured["delete.retention.ms"] == configured["retention.ms"]


def test_every_field_of_an_event_says_what_it_means() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    silent = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, of in schema.get("properties", {}).items()
        if not of.get("description")
    ]
    assert silent == []
