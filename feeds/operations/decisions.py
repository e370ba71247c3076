"""What can be decided about alerts, allocations and cases, and when it can no longer be; pure.

The same rules as the worker's, which has the last word (streams/dispatch/cases/life.py and
streams/dispatch/allocation/decisions.py); here they are for an answer at once instead of a dead
letter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from civicstream.clock import rfc3339
from feeds.problems import Problem

__all__ = ["DECISIONS", "Asked", "Decision", "Kind", "Standing", "check"]

Kind = Literal["alert", "allocation", "case"]


@dataclass(frozen=True)
class Standing:
    """What the database knows of the thing that is decided about; times in epoch ms."""

    area: str
    state: str
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None
    silenced_until: int | None = None


@dataclass(frozen=True)
class Asked:
    """What somebody asks for; ``value`` is the unit, or the minutes as text."""

    kind: Kind
    id: str
    action: str
    note: str
    value: str | None = None

    @property
    def subject(self) -> str:
        return f"{self.kind}/{self.id}"


Refusal = Callable[[Standing, int], str | None]


@dataclass(frozen=True)
class Decision:
    """From which states it is possible; ``note`` is what the note must say, where one is needed."""

    states: frozenset[str]
    note: str = ""
    unit: bool = False
    """The value is a unit, which must exist."""
    refusal: Refusal | None = None
    """Returns why it is not possible although the state is right."""


def _not_twice(alert: Standing, _now_ms: int) -> str | None:
    if alert.acknowledged_at is None:
        return None
    return f"acknowledged by {alert.acknowledged_by} already at {rfc3339(alert.acknowledged_at)}"


def _not_loud(alert: Standing, now_ms: int) -> str | None:
    return None if (alert.silenced_until or 0) > now_ms else "not silenced"


_UNFINISHED = frozenset({"received", "acknowledged", "assigned"})
_STANDING = frozenset({"proposed", "accepted"})
_ACTIVE = frozenset({"active"})

DECISIONS: dict[tuple[Kind, str], Decision] = {
    ("alert", "acknowledge"): Decision(_ACTIVE, refusal=_not_twice),
    ("alert", "silence"): Decision(_ACTIVE),
    ("alert", "unsilence"): Decision(_ACTIVE, refusal=_not_loud),
    ("allocation", "accept"): Decision(frozenset({"proposed"})),
    ("allocation", "reject"): Decision(_STANDING, note="the reason"),
    ("allocation", "override"): Decision(_STANDING, unit=True),
    ("case", "acknowledge"): Decision(frozenset({"received"})),
    ("case", "assign"): Decision(_UNFINISHED, unit=True),
    ("case", "start"): Decision(frozenset({"acknowledged", "assigned"})),
    ("case", "resolve"): Decision(frozenset({"acknowledged", "assigned", "in_progress"})),
    ("case", "reject"): Decision(_UNFINISHED, note="the reason, which the citizens will read"),
}

_BUSY_UNITS = {"off_duty": "is off duty", "on_site": "is on site somewhere else"}


def check(asked: Asked, standing: Standing, unit_state: str | None, now_ms: int) -> None:
    """Raise Problem 400, 404 or 409 for what cannot be decided; ``unit_state`` None: unknown."""
    decision = DECISIONS[asked.kind, asked.action]
    if decision.note and not asked.note:
        raise Problem(
            400,
            f"{asked.action} of {asked.subject}: the note must say {decision.note}",
            parameter="note",
        )
    if standing.state not in decision.states:
        states = ", ".join(sorted(decision.states))
        raise Problem(
            409,
            f"{asked.subject} is {standing.state}; {asked.action} is possible only while it is "
            f"{states}; look at it again",
        )
    why = decision.refusal(standing, now_ms) if decision.refusal else None
    if why is not None:
        raise Problem(409, f"{asked.subject} is {why}; {asked.action} would change nothing")
    if decision.unit:
        _check_unit(asked, unit_state)


def _check_unit(asked: Asked, state: str | None) -> None:
    if state is None:
        raise Problem(
            404,
            f"unit {asked.value!r} is not known; GET /api/v1/units lists those that reported",
            parameter="unit",
        )
    if state in _BUSY_UNITS:
        raise Problem(409, f"unit {asked.value!r} {_BUSY_UNITS[state]}", parameter="unit")
