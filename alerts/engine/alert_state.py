"""The state of the rules as items of a state store: what holds, the alerts, the actions taken.

An item is JSON under one of these keys; null takes it away:

    alert/<id>                          the newest version, and what later ones depend on
    held/<rule>/<condition>/<subject>   since when a condition holds for a subject
    action/<id>                         an action that counted
    rule/<name>                         fingerprint of the rule that the items are of

What no item says follows from the events within the rules' memory, which a start reads again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alerts.rules.rule import Rule
from civicstream.events import Alert

__all__ = ["Held", "Items", "KnownAlert", "Restored", "encode", "fingerprint", "held_key", "read"]

Items = dict[str, bytes | None]
"""By key; None: the item is gone."""

encode = msgspec.json.Encoder().encode


class KnownAlert(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest version of an alert, and what later versions depend on."""

    alert: Alert
    event_at: int
    raised_event_at: int
    raised_at: int
    holders: list[str]


class Held(msgspec.Struct, frozen=True, omit_defaults=True):
    """A condition that holds for a subject, and what is known of the subject."""

    area: str
    since: int
    seen: int
    order: int
    at: int
    segment: str | None = None
    value: float | None = None
    event: Any = None
    """The newest event, where events are not read again at a start; as decoded JSON when read."""


@dataclass
class Restored:
    """What a state store held."""

    alerts: list[KnownAlert] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    """From the first to the newest."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    held: dict[tuple[str, str], dict[str, Held]] = field(default_factory=dict)
    """By rule and condition, then by subject."""


def held_key(rule: str, condition: str, subject: str) -> str:
    return f"held/{rule}/{condition}/{subject}"


def fingerprint(rule: Rule) -> str:
    """Return what changes with anything that the rule says, wherever it stands in its file."""
    text = msgspec.json.encode(
        dataclasses.replace(rule, line=0), enc_hook=str, order="deterministic"
    )
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def read(items: Mapping[str, bytes]) -> Restored:
    """Return the items of a store by their kind; raise msgspec.DecodeError for what is none."""
    found = Restored()
    actions: list[tuple[int, str]] = []
    for key, value in items.items():
        kind, _, name = key.partition("/")
        if kind == "alert":
            found.alerts.append(msgspec.json.decode(value, type=KnownAlert))
        elif kind == "held":
            rule, condition, subject = name.split("/", 2)
            held = msgspec.json.decode(value, type=Held)
            found.held.setdefault((rule, condition), {})[subject] = held
        elif kind == "action":
            actions.append((msgspec.json.decode(value, type=int), name))
        elif kind == "rule":
            found.fingerprints[name] = msgspec.json.decode(value, type=str)
    found.alerts.sort(key=lambda known: (known.raised_at, known.alert.id))
    found.actions = [name for _, name in sorted(actions)]
    return found


def number(value: Any) -> float | None:
    """Return a column's value; None for NaN, which JSON does not have."""
    return None if value != value else float(value)  # noqa: PLR0124 only NaN is not itself
