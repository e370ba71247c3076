"""The query of a request, checked: span of time, limit, filters, bounding box.

What is wrong is a Problem 400 that names the parameter, its value and the remedy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from civicstream.clock import rfc3339
from feeds.history.listings import Filter
from feeds.problems import Problem

__all__ = [
    "Limits",
    "Span",
    "read_bbox",
    "read_filters",
    "read_int",
    "read_limit",
    "read_span",
    "read_time",
    "refuse",
    "refuse_unknown",
]

_DAY_MS = 86_400_000
# Year 9999; PostgreSQL and Python's datetime agree on all before.
_LAST_MS = 253_370_764_800_000
_MAX_VALUES = 200


@dataclass(frozen=True)
class Limits:
    """How much one request may ask for."""

    default_rows: int = 1_000
    max_rows: int = 10_000
    max_span_days: float = 31


@dataclass(frozen=True)
class Span:
    """Half-open span of time [epoch ms]."""

    start: int
    end: int


def refuse(parameter: str, value: object, remedy: str, status: int = 400) -> NoReturn:
    """Raise the problem of a parameter's value; ``remedy`` ends the sentence."""
    shown = str(value)
    shown = shown if len(shown) <= 100 else shown[:100] + "…"
    raise Problem(status, f"{parameter} is {shown!r}; {remedy}", parameter=parameter, value=shown)


def refuse_unknown(query: Mapping[str, str], known: Collection[str]) -> None:
    """Raise for a parameter that the path does not have: it would be ignored, silently."""
    for name, value in query.items():
        if name not in known:
            refuse(name, value, f"this path takes {', '.join(sorted(known))} and nothing else")


def read_time(query: Mapping[str, str], name: str, default: int) -> int:
    """Return a time [epoch ms] given as such or as RFC 3339 with offset."""
    text = query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit():
        at = int(text) if len(text) < 16 else _LAST_MS
    else:
        at = _parsed_rfc3339(name, text)
    if not 0 <= at < _LAST_MS:
        refuse(name, text, "give a time between the years 1970 and 9998")
    return at


def _parsed_rfc3339(name: str, text: str) -> int:
    remedy = "give epoch milliseconds or RFC 3339 with offset, e.g. 2026-05-04T07:30:00Z"
    try:
        # a plus that was not escaped comes as a space
        at = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else "")
    except ValueError:
        refuse(name, text, remedy)
    if at.tzinfo is None:
        refuse(name, text, f"it has no offset; {remedy}")
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def read_span(
    query: Mapping[str, str], now: int, default_s: int, max_days: float, remedy: str = ""
) -> Span:
    """Return the span ``from`` to ``to``; by default what ends ``now`` [epoch ms]."""
    end = read_time(query, "to", now)
    start = read_time(query, "from", max(0, end - default_s * 1000))
    if start >= end:
        refuse("from", query.get("from"), f"it must be before to, which is {rfc3339(end)}")
    if end - start > max_days * _DAY_MS:
        asked = (end - start) / _DAY_MS
        refuse(
            "from",
            query.get("from"),
            f"the span is {asked:.4g} days and may be {max_days:g} at most; "
            f"ask for it in parts{remedy}",
        )
    return Span(start, end)


def read_int(query: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    """Return a whole number between ``lowest`` and ``highest``."""
    text = query.get(name)
    if text is None:
        return default
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    if not lowest <= number <= highest:
        refuse(name, text, f"give a whole number from {lowest} to {highest}")
    return number


def read_limit(query: Mapping[str, str], limits: Limits) -> int:
    """Return how many rows a page has at most."""
    return read_int(query, "limit", min(limits.default_rows, limits.max_rows), 1, limits.max_rows)


def read_filters(query: Mapping[str, str], filters: Sequence[Filter]) -> dict[str, Any]:
    """Return filter name -> what the statement compares with."""
    found: dict[str, Any] = {}
    for one in filters:
        if (text := query.get(one.name)) is None:
            continue
        if one.rule == "at_least":
            found[one.name] = _at_least(one, text)
            continue
        texts = [part for part in text.split(",") if part]
        if not 0 < len(texts) <= _MAX_VALUES:
            refuse(one.name, text, f"give 1 to {_MAX_VALUES} values, separated by commas")
        for part in texts:
            if one.choices and part not in one.choices:
                refuse(one.name, part, f"choose from {', '.join(one.choices)}")
        found[one.name] = [_typed(one, part) for part in texts]
    return found


def _at_least(one: Filter, text: str) -> Any:
    if not one.choices:
        return _typed(one, text)
    if text not in one.choices:
        refuse(one.name, text, f"choose from {', '.join(one.choices)}")
    return list(one.choices[one.choices.index(text) :])


def _typed(one: Filter, text: str) -> Any:
    if one.type == "text":
        if "\0" in text:
            refuse(one.name, text, "it has a NUL, which no name has")
        return text
    try:
        number = int(text) if one.type == "int" else float(text)
    except ValueError:
        number = float("nan")
    if not abs(number) < 2**63:
        refuse(one.name, text, f"give a{' whole' if one.type == 'int' else ''} number")
    return number


def read_bbox(query: Mapping[str, str]) -> tuple[float, float, float, float] | None:
    """Return ``bbox`` as west, south, east, north [degrees]."""
    text = query.get("bbox")
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        refuse("bbox", text, "give west,south,east,north in degrees")
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        refuse("bbox", text, "west must be less than east, south less than north, in degrees")
    return west, south, east, north
