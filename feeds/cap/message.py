"""Alerts in the Common Alerting Protocol 1.2 (OASIS Standard, 1 July 2010).

A message is one version of an alert that outsiders are concerned by. The first is an ``Alert``,
later ones are ``Update``, the end is a ``Cancel``; each names all before it in ``references``.
What operators do among themselves (acknowledge, silence) makes no message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote, unquote
from xml.etree.ElementTree import Element, SubElement, tostring  # writing only

from civicstream.events import Alert
from feeds.cap.places import CapPlace, CapPlaces

__all__ = [
    "NAMESPACE",
    "CapMessage",
    "CapWriter",
    "cap_messages",
    "identifier_of",
    "read_identifier",
]

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"

_TOLD = {"raised", "updated", "escalated", "cleared"}
_SEVERITY = {"minor": "Minor", "moderate": "Moderate", "severe": "Severe", "extreme": "Extreme"}
# By what the alert is about. A measurement says what is (Observed); what was concluded or reported
# most probably is so (Likely, over 50 %).
_CERTAINTY = {
    **dict.fromkeys(("segment", "area", "city", "environment", "sensor"), "Observed"),
    **dict.fromkeys(("gateway", "process"), "Observed"),
    **dict.fromkeys(("incident", "anomaly", "case", "demand", "allocation"), "Likely"),
}
_CATEGORY = {
    **dict.fromkeys(("segment", "incident", "allocation"), "Transport"),
    **dict.fromkeys(("sensor", "gateway", "process", "case"), "Infra"),
    **dict.fromkeys(("environment", "anomaly"), "Env"),
}
# What XML 1.0 has no way to write (section 2.2).
_UNWRITABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class CapMessage:
    """One message: the version of the alert, and the versions whose messages it refers to."""

    alert: Alert
    type: Literal["Alert", "Update", "Cancel"]
    earlier: tuple[Alert, ...]

    @property
    def identifier(self) -> str:
        return identifier_of(self.alert)


def identifier_of(alert: Alert) -> str:
    """Return the id of a version's message, without the characters that CAP forbids there."""
    return f"{quote(alert.id, safe='')}.{alert.version}"


def read_identifier(identifier: str) -> tuple[str, int] | None:
    """Return alert id and version of a message's identifier; None for one that is not ours."""
    name, _, version = identifier.rpartition(".")
    if not name or not re.fullmatch(r"[1-9]\d{0,8}", version):
        return None
    return unquote(name), int(version)


def cap_messages(versions: Iterable[Alert]) -> list[CapMessage]:
    """Return the messages of one alert, whose versions are given in order.

    An alert that a group stands for has none, unless it had some before the group was made:
    then its end is published.
    """
    messages: list[CapMessage] = []
    earlier: list[Alert] = []
    for alert in versions:
        over = alert.state == "cleared"
        if alert.change not in _TOLD or (over and not earlier):
            continue
        if alert.parent is not None and not over:
            continue
        kind: Literal["Alert", "Update", "Cancel"] = (
            "Cancel" if over else "Update" if earlier else "Alert"
        )
        messages.append(CapMessage(alert, kind, tuple(earlier)))
        earlier.append(alert)
    return messages


def cap_time(ms: int) -> str:
    """Return the time as CAP wants it (section 3.3.2): whole seconds, offset never ``Z``."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def writable(text: str) -> str:
    """Return the text without what XML cannot hold."""
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class CapWriter:
    """Writes messages as XML; ``sender`` has no blank, comma, ``<`` or ``&`` in it."""

    def __init__(self, sender: str, status: str, places: CapPlaces, public_url: str) -> None:
        self.sender = sender
        self._status, self._places, self._public_url = status, places, public_url

    def write(self, message: CapMessage) -> bytes:
        """Return the document, in UTF-8 with its declaration."""
        alert = message.alert
        root = Element("alert", xmlns=NAMESPACE)
        _add(root, "identifier", message.identifier)
        _add(root, "sender", self.sender)
        _add(root, "sent", cap_time(alert.computed_at))
        _add(root, "status", self._status)
        _add(root, "msgType", message.type)
        _add(root, "scope", "Public")
        if message.earlier:
            _add(root, "references", self._references(message.earlier))
        self._info(root, message)
        return bytes(tostring(root, encoding="utf-8", xml_declaration=True))

    def _references(self, earlier: Sequence[Alert]) -> str:
        """Return ``sender,identifier,sent`` of each, separated by blanks (section 3.2.1)."""
        return " ".join(
            f"{self.sender},{identifier_of(a)},{cap_time(a.computed_at)}" for a in earlier
        )

    def _info(self, root: Element, message: CapMessage) -> None:
        alert, over = message.alert, message.type == "Cancel"
        kind = alert.subject.partition("/")[0]
        info = SubElement(root, "info")
        _add(info, "language", "en")
        _add(info, "category", _CATEGORY.get(kind, "Other"))
        _add(info, "event", alert.rule)
        _add(info, "responseType", "AllClear" if over else "Monitor")
        _add(info, "urgency", _urgency(alert))
        _add(info, "severity", _SEVERITY[alert.severity])
        _add(info, "certainty", _CERTAINTY.get(kind, "Unknown"))
        _add(info, "onset", cap_time(alert.started_at))
        _add(info, "headline", " ".join(alert.headline.split()))
        if alert.description:
            _add(info, "description", alert.description)
        _add(info, "web", f"{self._public_url}/?alert={quote(alert.id, safe='')}")
        for name, value in _parameters(alert):
            _pair(info, "parameter", name, value)
        _area(info, self._places.of(alert))


def _urgency(alert: Alert) -> str:
    """All rules speak of the present: act now, or within the hour (section 3.2.2)."""
    if alert.state == "cleared":
        return "Past"
    return "Immediate" if alert.severity in {"severe", "extreme"} else "Expected"


def _parameters(alert: Alert) -> list[tuple[str, str]]:
    found = [("civicstream:subject", alert.subject)]
    if alert.value is not None:
        found.append(("civicstream:value", f"{alert.value:g}"))
    if alert.threshold is not None:
        found.append(("civicstream:threshold", f"{alert.threshold:g}"))
    if alert.children:
        found.append(("civicstream:alerts", str(alert.children)))
    return found


def _area(info: Element, place: CapPlace) -> None:
    area = SubElement(info, "area")
    _add(area, "areaDesc", place.description)
    if place.polygon:
        _add(area, "polygon", place.polygon)
    if place.circle:
        _add(area, "circle", place.circle)
    for name, value in place.codes:
        _pair(area, "geocode", name, value)


def _pair(parent: Element, tag: str, name: str, value: str) -> None:
    pair = SubElement(parent, tag)
    _add(pair, "valueName", name)
    _add(pair, "value", value)


def _add(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = writable(text)
