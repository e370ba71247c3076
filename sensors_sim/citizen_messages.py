"""A simulated citizen's report as the MQTT message that a phone sends (docs/reports.md).

Names, addresses and telephone numbers are invented; they exercise the way of personal data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from civicstream.services import Attribute, ServiceType
from sensors_sim.citizens import SentReport

__all__ = ["person_of", "report_message"]

_FIRST = ("Ada", "Bela", "Chiara", "Deniz", "Emre", "Fatou", "Greta", "Hanh", "Igor", "Jola")
_LAST = ("Muster", "Beispiel", "Example", "Dupont", "Rossi", "Novak", "Yilmaz", "Svensson")

_NAMED, _REACHABLE, _CALL_ME = 0.6, 0.4, 0.15
"""Shares of phones with name and e-mail, with a number, and of reports with it in the text."""


def person_of(client: str) -> dict[str, str]:
    """Return the invented person behind a phone: name and email, or phone, or neither."""
    person = {}
    first, last = _FIRST[_draw(client, "first", 10)], _LAST[_draw(client, "last", 8)]
    if _chance(client, "named") < _NAMED:
        person["name"] = f"{first} {last}"
        person["email"] = f"{first}.{last}.{client}@example.org".lower()
    if _chance(client, "reachable") < _REACHABLE:
        # The range that is kept free for invented people in Berlin (Bundesnetzagentur).
        person["phone"] = f"+49 30 23125 {_draw(client, 'phone', 1000):03d}"
    return person


def report_message(
    sent: SentReport, services: Mapping[str, ServiceType], root: str
) -> tuple[str, bytes]:
    """Return topic and payload of a report; the same for the same report, so it can be resent."""
    person = person_of(sent.client)
    text = sent.description
    if "phone" in person and _chance(sent.client, sent.reference) < _CALL_ME:
        text += f". Call me: {person['phone']}"
    payload: dict[str, Any] = {
        "reference": sent.reference,
        "service": sent.service,
        "ts": sent.at,
        "lon": sent.lon,
        "lat": sent.lat,
        "description": text,
        **person,
    }
    answers = {
        a.code: _answer(a, f"{sent.client}/{sent.reference}/{a.code}")
        for a in services[sent.service].attributes
        if a.variable and a.values
    }
    if answers:
        payload["attributes"] = answers
    return f"{root}/report/{sent.area}/{sent.client}", msgspec.json.encode(payload)


def _answer(attribute: Attribute, about: str) -> str | list[str]:
    values = list(attribute.values)
    chosen = values[_draw(about, "answer", len(values))]
    return [chosen] if attribute.datatype == "multivaluelist" else chosen


def _draw(about: str, what: str, below: int) -> int:
    return int(_chance(about, what) * below)


def _chance(about: str, what: str) -> float:
    """Return a number in 0..1 that hangs on both texts alone."""
    digest = hashlib.blake2b(f"{what}/{about}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
