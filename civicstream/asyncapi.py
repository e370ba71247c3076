"""The AsyncAPI 3.0 document of everything that goes over MQTT and Kafka.

It is generated from ``KINDS``, ``TOPICS`` and the event structs, so it cannot fall behind them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from civicstream import __version__
from civicstream.asyncapi_citizens import PAYLOADS, mqtt_channel, mqtt_message
from civicstream.event_topics import EVENTS
from civicstream.kinds import KINDS, Kind, Measure
from civicstream.meanings import field_meanings
from civicstream.settings import Settings
from civicstream.topics import TOPICS, Topic, frames_topic, topic_name

__all__ = ["document"]

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"


def document(settings: Settings) -> Json:
    """Return the AsyncAPI document for these settings' MQTT root and Kafka prefix."""
    schemas, components = msgspec.json.schema_components(EVENTS.values(), ref_template=_REFERENCE)
    events = dict(zip(EVENTS, schemas, strict=True))
    for event in _structs_of(EVENTS.values()):
        _describe(components[event.__name__], event)
    published = [t for t in TOPICS.values() if t.name in events or t.name.startswith("frames.")]
    published.append(TOPICS["late"])
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "CivicStream",
            "version": __version__,
            "description": "Readings, reports and crews over MQTT; frames, results, cases, "
            "advice over Kafka.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(settings),
        "channels": {
            **{f"mqtt.{k.name}": _mqtt_channel(k, settings.mqtt.root) for k in KINDS.values()},
            **{f"mqtt.{name}": mqtt_channel(name, settings.mqtt.root) for name in PAYLOADS},
            **{f"kafka.{t.name}": _kafka_channel(t, settings) for t in published},
        },
        "operations": _operations(published),
        "components": {
            "messages": {
                **{f"reading.{kind}": _reading_message(KINDS[kind]) for kind in KINDS},
                **{f"mqtt.{name}": mqtt_message(name) for name in PAYLOADS},
                **{f"frame.{kind}": _frame_message(KINDS[kind]) for kind in KINDS},
                **{name: _event_message(name, schema) for name, schema in events.items()},
            },
            "messageTraits": {"frame": _FRAME_TRAIT, "cloudEvent": _CLOUD_EVENT_TRAIT},
            "schemas": {**components, **{f"reading.{k}": _reading(KINDS[k]) for k in KINDS}},
        },
    }


def _structs_of(types: Iterable[Any]) -> set[type[msgspec.Struct]]:
    """Return the structs among types and, however deep, in their fields."""
    found: set[type[msgspec.Struct]] = set()
    for of in types:
        if isinstance(of, type) and issubclass(of, msgspec.Struct):
            inner = _structs_of(field.type for field in msgspec.structs.fields(of))
            found |= {of, *inner}
        else:
            found |= _structs_of(get_args(of))
    return found


def _describe(schema: Json, event: type[msgspec.Struct]) -> None:
    """Put the fields' meanings into a struct's schema; one written as an array has no names."""
    for name, meaning in field_meanings(event).items():
        if name in schema.get("properties", {}):
            field = schema["properties"][name]
            # Beside a reference JSON Schema allows other words only since 2019.
            schema["properties"][name] = (
                {"allOf": [field], "description": meaning}
                if "$ref" in field
                else {**field, "description": meaning}
            )


def _servers(settings: Settings) -> Json:
    mqtt, kafka = settings.mqtt, settings.kafka
    return {
        "mqtt": {
            "host": f"{mqtt.host}:{mqtt.port}",
            "protocol": "secure-mqtt" if mqtt.tls else "mqtt",
            "protocolVersion": "3.1.1" if mqtt.protocol == "3.1.1" else "5.0",
        },
        "kafka": {
            "host": kafka.bootstrap.split(",")[0],
            "protocol": "kafka" if kafka.security_protocol == "PLAINTEXT" else "kafka-secure",
        },
    }


def _mqtt_channel(kind: Kind, root: str) -> Json:
    return {
        "address": f"{root}/{kind.name}/{{area}}/{{sensor}}",
        "title": kind.title,
        "servers": [{"$ref": "#/servers/mqtt"}],
        "parameters": {
            "area": {"description": "The district the sensor is in; the unit of partitioning."},
            "sensor": {"description": "The sensor, unique within kind and area."},
        },
        "messages": {"reading": {"$ref": f"#/components/messages/reading.{kind.name}"}},
        "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
    }


def _kafka_channel(topic: Topic, settings: Settings) -> Json:
    names = [f"frame.{kind}" for kind in KINDS if topic.name in (frames_topic(kind), "late")]
    messages = names or [topic.name]
    return {
        "address": topic_name(settings.kafka.topic_prefix, topic.name),
        "title": topic.holds,
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions or settings.kafka.partitions,
                "topicConfiguration": _topic_configuration(topic),
                "bindingVersion": "0.5.0",
            }
        },
    }


def _topic_configuration(topic: Topic) -> Json:
    config = topic.config
    # of the topic's settings those that the Kafka binding knows
    numbers: Json = {
        k: int(config[k]) for k in ("retention.ms", "delete.retention.ms") if k in config
    }
    return {"cleanup.policy": config["cleanup.policy"].split(","), **numbers}


def _operations(published: list[Topic]) -> Json:
    operations: Json = {
        f"receive.{kind}": {
            "action": "receive",
            "channel": {"$ref": f"#/channels/mqtt.{kind}"},
            "summary": f"The gateway takes in {what}, at QoS 1.",
            "bindings": {"mqtt": {"qos": 1, "bindingVersion": "0.2.0"}},
        }
        for kind, what in (
            *((kind, f"{kind} readings") for kind in KINDS),
            *((name, f"{name} messages") for name in PAYLOADS),
        )
    }
    for topic in published:
        operations[f"send.{topic.name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/kafka.{topic.name}"},
            "summary": f"{topic.holds[0].upper()}{topic.holds[1:]}.",
        }
    return operations


def _reading_message(kind: Kind) -> Json:
    reading = {"$ref": f"#/components/schemas/reading.{kind.name}"}
    return {
        "title": f"{kind.name} reading",
        "summary": "One reading, or an array of readings of the topic's sensor.",
        "payload": {"oneOf": [reading, {"type": "array", "items": reading, "minItems": 1}]},
    }


def _reading(kind: Kind) -> Json:
    """Return the JSON Schema of one reading; other fields are allowed and ignored."""
    return {
        "title": kind.title,
        "type": "object",
        "required": ["ts", *kind.required],
        "properties": {
            "ts": {
                "description": "When it was measured: epoch milliseconds, or RFC 3339 with offset.",
                "oneOf": [{"type": "integer"}, {"type": "string", "format": "date-time"}],
            },
            "sensor": {"type": "string", "description": "If given, the topic's sensor."},
            **{m.name: _measure(m) for m in kind.measures},
        },
        # ts and at least one measure
        **({} if kind.required else {"anyOf": [{"required": [m.name]} for m in kind.measures]}),
    }


def _measure(measure: Measure) -> Json:
    kind = "integer" if measure.integer else "number"
    schema: Json = {
        "type": kind if measure.required else [kind, "null"],
        "description": measure.unit,
    }
    if math.isfinite(measure.minimum):
        schema["minimum"] = measure.minimum
    if math.isfinite(measure.maximum):
        schema["maximum"] = measure.maximum
    return schema | {"x-unit": measure.unit}


def _frame_message(kind: Kind) -> Json:
    fields = ["sensor_key int64", "sensor utf8 (dictionary)", "area utf8 (dictionary)"]
    fields += ["ts timestamp[ms, UTC]", *(f"{m.name} float64 [{m.unit}]" for m in kind.measures)]
    return {
        "title": f"{kind.name} frame",
        "contentType": "application/vnd.apache.arrow.stream",
        "description": "Arrow IPC stream with one record batch: " + ", ".join(fields) + ".",
        "traits": [{"$ref": "#/components/messageTraits/frame"}],
        "payload": {"type": "string", "format": "binary"},
    }


def _event_message(name: str, schema: Json) -> Json:
    return {
        "title": name,
        "summary": TOPICS[name].holds,
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": schema,
    }


def _headers(**fields: str) -> Json:
    properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
    return {"headers": {"type": "object", "required": list(fields), "properties": properties}}


_FRAME_TRAIT = _headers(
    gateway="Id of the gateway that made the frame.",
    epoch="Start of that gateway, epoch ms.",
    seq="Consecutive per gateway, epoch, topic and partition, from 0.",
    count="Readings in the frame.",
    ingested_at="When it was made, epoch ms.",
)
_CLOUD_EVENT_TRAIT = _headers(
    ce_specversion="1.0",
    ce_type="org.civicstream. and the event's type.",
    ce_source="The process that sent it.",
    ce_id="The same when the event is sent again.",
    ce_time="RFC 3339, UTC.",
)
