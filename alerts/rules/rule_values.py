"""The values of a rules file, each read with a message that says what to write instead."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterable
from typing import Any

from alerts.rules.rule import WEEKDAYS, Schedule, Value

__all__ = [
    "WrongValue",
    "closest",
    "duration_ms",
    "number",
    "schedule",
    "text",
    "texts",
    "values",
    "whole",
]

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*$")
_HOURS = re.compile(r"^(\d\d):(\d\d)-(\d\d):(\d\d)$")
_LONGEST_MS = 7 * _UNITS_MS["d"]


class WrongValue(Exception):
    """A value that a rule cannot have; ``field`` is its dotted name within the rule."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem)
        self.field = field
        self.problem = problem


def closest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"


def duration_ms(field: str, value: Any) -> int:
    """Return a duration like ``"5m"`` in milliseconds."""
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise WrongValue(field, f'{value!r} is not a duration; write e.g. "90s", "5m" or "2h"')
    span = round(float(match[1]) * _UNITS_MS[match[2]])
    if not 0 < span <= _LONGEST_MS:
        raise WrongValue(field, f"{value!r} is not above 0 and at most 7d")
    return span


def number(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        raise WrongValue(field, f"{value!r} is not a number; write e.g. 0.8")
    return float(value)


def whole(field: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise WrongValue(field, f"{value!r} is not a whole number of at least {least}")
    return value


def text(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise WrongValue(
            field, f'{value!r} is not a text; write it in quotes, e.g. {field} = "..."'
        )
    return value


def texts(field: str, value: Any) -> tuple[str, ...]:
    """Return a list of texts; one text alone is a list of one."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed:
        raise WrongValue(field, f'{value!r} is not a list of texts; write e.g. ["a", "b"]')
    return tuple(text(field, item) for item in listed)


def values(field: str, value: Any, kind: str) -> tuple[Value, ...]:
    """Return the values that a field of type ``kind`` is compared with."""
    listed = value if isinstance(value, list) else [value]
    wanted: tuple[type, ...] = (str,) if kind == "text" else (int, float)
    if not listed or not all(isinstance(item, wanted) for item in listed):
        example = '"F" or ["E", "F"]' if kind == "text" else "1 or [1, 2]"
        raise WrongValue(field, f"{value!r} is compared with a {kind}; write e.g. {example}")
    return tuple(item if kind == "text" else float(item) for item in listed)


def schedule(field: str, value: Any) -> Schedule:
    """Return a schedule from ``{ days, hours, zone }``."""
    if not isinstance(value, dict):
        raise WrongValue(
            field, 'write { days = "mon-fri", hours = "06:00-22:00", zone = "Europe/Vienna" }'
        )
    for name in value.keys() - {"days", "hours", "zone"}:
        raise WrongValue(
            f"{field}.{name}", f"no such field; {closest(name, ('days', 'hours', 'zone'))}"
        )
    start, end = _hours(f"{field}.hours", value.get("hours", "00:00-24:00"))
    zone = None
    if "zone" in value:
        try:
            zone = zoneinfo.ZoneInfo(text(f"{field}.zone", value["zone"]))
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise WrongValue(
                f"{field}.zone",
                f'{value["zone"]!r} is not a time zone; write e.g. "Europe/Vienna"',
            ) from None
    return Schedule(_days(f"{field}.days", value.get("days", "mon-sun")), start, end, zone)


def _days(field: str, value: Any) -> frozenset[int]:
    found: set[int] = set()
    for item in texts(field, value):
        first, _, last = item.lower().partition("-")
        if first not in WEEKDAYS or (last or first) not in WEEKDAYS:
            raise WrongValue(field, f'{item!r} is no day; write e.g. "mon-fri" or ["sat", "sun"]')
        start, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        found |= {(start + i) % 7 for i in range((end - start) % 7 + 1)}
    return frozenset(found)


def _hours(field: str, value: Any) -> tuple[int, int]:
    match = _HOURS.match(value) if isinstance(value, str) else None
    if match is not None:
        start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
        if start < 1440 and end <= 1440 and start != end and int(match[2]) < 60 > int(match[4]):
            return start, end
    raise WrongValue(field, f'{value!r} are no hours; write e.g. "06:00-22:00" or "22:00-05:00"')
