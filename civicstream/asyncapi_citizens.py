"""What citizens and crews send over MQTT, for the AsyncAPI document.

Their payloads have no declaration that a schema could follow from, as kinds have; a test holds
these against what the gateway decodes.
"""

from __future__ import annotations

from typing import Any, get_args

from civicstream.service_events import UnitState

__all__ = ["PAYLOADS", "mqtt_channel", "mqtt_message"]

Json = dict[str, Any]

_TIME: Json = {
    "description": "Epoch milliseconds, or RFC 3339 with offset.",
    "oneOf": [{"type": "integer"}, {"type": "string", "format": "date-time"}],
}
_TEXT: Json = {"type": "string"}
_LON: Json = {"type": "number", "minimum": -180, "maximum": 180, "x-unit": "degrees, WGS 84"}
_LAT: Json = {"type": "number", "minimum": -90, "maximum": 90, "x-unit": "degrees, WGS 84"}
_AMOUNT: Json = {"type": "number", "minimum": 0}


def _text(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description, **more}


def _sealed(what: str) -> Json:
    return _text(f"{what}; sealed by the gateway, never on a shared topic.")


_REPORT: Json = {
    "title": "A citizen's report",
    "type": "object",
    "required": ["reference", "service", "ts"],
    "properties": {
        "reference": {
            "description": "The client's own number of the report; sent again it is the same one.",
            "oneOf": [{"type": "string"}, {"type": "integer"}],
        },
        "service": _text("Code of the service type."),
        "ts": _TIME,
        "lon": _LON,
        "lat": _LAT,
        "address_string": _text("Address of the place, instead of or beside lon and lat."),
        "address_id": _text("Its number in the city's register."),
        "description": _text("What the problem is; e-mail addresses and phones are masked."),
        "name": _sealed("The reporter's name"),
        "email": _sealed("Their e-mail address"),
        "phone": _sealed("Their telephone number"),
        "notify": _sealed("`email`, or an https address, to be notified of the case"),
        "media_url": _text("Of a picture.", format="uri"),
        "attributes": {
            "description": "Answers to the questions of the service, by code.",
            "type": "object",
            "additionalProperties": {
                "oneOf": [
                    {"type": ["string", "number"]},
                    {"type": "array", "items": {"type": "string"}},
                ]
            },
        },
    },
    "anyOf": [{"required": way} for way in (["lon", "lat"], ["address_string"], ["address_id"])],
}

_UNIT_STATE: Json = {
    "title": "Place and state of a crew",
    "type": "object",
    "required": ["ts", "state", "lon", "lat", "skills", "shift_end"],
    "properties": {
        "ts": _TIME,
        "state": {"type": "string", "enum": list(get_args(UnitState))},
        "lon": _LON,
        "lat": _LAT,
        "skills": {"type": "array", "items": _TEXT, "maxItems": 50},
        "shift_end": _TIME,
        "capacity": _AMOUNT,
        "load": _AMOUNT,
        "task": _text("What it is assigned to: case/<id> or incident/<id>."),
        "unit": _text("If given, the topic's unit."),
    },
}

_UNIT_DECISION: Json = {
    "title": "A crew's decision",
    "type": "object",
    "required": ["ts", "action"],
    "properties": {
        "ts": _TIME,
        "action": {"type": "string", "enum": ["accept", "reject", "start", "done"]},
        "allocation": _text("What is decided on; either this or task."),
        "task": _text("case/<id> or incident/<id>."),
        "note": _TEXT,
        "unit": _text("If given, the topic's unit."),
    },
    "oneOf": [{"required": ["allocation"]}, {"required": ["task"]}],
}

PAYLOADS: dict[str, list[Json]] = {"report": [_REPORT], "unit": [_UNIT_STATE, _UNIT_DECISION]}
"""First level of the MQTT topic -> JSON Schemas of what may be sent there."""

_SENDER = {
    "report": ("client", "The client that sends; only a pseudonym of it goes on."),
    "unit": ("unit", "The crew or vehicle."),
}
_TITLES = {"report": "citizens' reports", "unit": "crews"}


def mqtt_channel(name: str, root: str) -> Json:
    """Return the channel of ``PAYLOADS``' ``name`` under an MQTT root."""
    sender, meaning = _SENDER[name]
    return {
        "address": f"{root}/{name}/{{area}}/{{{sender}}}",
        "title": _TITLES[name],
        "servers": [{"$ref": "#/servers/mqtt"}],
        "parameters": {
            "area": {"description": "The district."},
            sender: {"description": meaning},
        },
        "messages": {name: {"$ref": f"#/components/messages/mqtt.{name}"}},
        "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
    }


def mqtt_message(name: str) -> Json:
    """Return the message of that channel."""
    schemas = PAYLOADS[name]
    return {
        "title": schemas[0]["title"],
        "summary": f"Sent by {_TITLES[name]}; other fields are ignored.",
        "contentType": "application/json",
        "payload": schemas[0] if len(schemas) == 1 else {"oneOf": schemas},
    }
