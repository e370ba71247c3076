"""One value, one time, one reading: accepted, or rejected with a sentence that names it.

This is the authority on what a valid reading is. ``readings`` has a faster way to accept the
good ones; whatever that way does not accept is judged here.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from civicstream.clock import rfc3339
from civicstream.errors import RejectedReading
from civicstream.kinds import Kind, Measure

__all__ = [
    "AwareDatetime",
    "Row",
    "TimeLimits",
    "check_reading",
    "check_time",
    "check_ts",
    "name_of",
    "to_ms",
]

Row = tuple[Any, ...]
"""``(ts [epoch ms], measure, …)`` in the order of ``Kind.measures``; None: not measured."""

AwareDatetime = Annotated[datetime, msgspec.Meta(tz=True)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FARTHEST_MS = 253_402_300_799_999  # the end of year 9999, the last that a datetime can print

_names = reprlib.Repr()
_names.maxstring = _names.maxother = 60
_names.maxlong = 40
name_of = _names.repr
"""``repr`` of anything a device sent, cut so that it cannot flood a message."""

_JSON_TYPES = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


@dataclass(frozen=True)
class TimeLimits:
    """The event times [epoch ms] that are believable at one moment."""

    oldest_ms: int
    newest_ms: int


def to_ms(stamp: datetime) -> int:
    """Return an aware datetime as epoch milliseconds, parts of one cut off."""
    return (stamp - _EPOCH) // _MILLISECOND


def check_reading(
    kind: Kind, member: object, sensor: str, limits: TimeLimits, *, received_ms: int
) -> Row:
    """Return the row of one decoded JSON object; raise RejectedReading saying what is wrong.

    Fields that the kind does not know are ignored. ``sensor`` is the one in the topic.
    """
    if not isinstance(member, Mapping):
        raise RejectedReading(
            "wrong_shape",
            f"sensor {name_of(sensor)}: expected an object with 'ts' and measures, "
            f"found {_json_type(member)}",
        )
    own = member.get("sensor")
    if own is not None and own != sensor:
        raise RejectedReading(
            "sensor_mismatch",
            f"sensor {name_of(sensor)}: the payload says sensor {name_of(own)}; "
            "topic and payload must name the same one",
        )
    ts = check_ts(member.get("ts"), sensor, limits, received_ms=received_ms)
    values = [_check_measure(m, member.get(m.name), sensor) for m in kind.measures]
    if all(value is None for value in values):
        raise RejectedReading(
            "no_measures",
            f"sensor {name_of(sensor)}: none of the measures of kind {kind.name!r} is present "
            f"({', '.join(kind.measure_names)})",
        )
    return (ts, *values)


def check_ts(ts: object, sensor: str, limits: TimeLimits, *, received_ms: int) -> int:
    """Return a reading's ``ts`` as ``check_time`` does."""
    return check_time(ts, f"sensor {name_of(sensor)}: ts", limits, received_ms=received_ms)


def check_time(ts: object, who: str, limits: TimeLimits, *, received_ms: int) -> int:
    """Return an event time as epoch ms: whole milliseconds, or RFC 3339 with an offset.

    ``who`` begins the sentence of the RejectedReading that is raised for anything else.
    """
    if ts is None:
        raise RejectedReading(
            "time_missing", f"{who} is missing; give epoch milliseconds or RFC 3339 with an offset"
        )
    if isinstance(ts, bool) or not isinstance(ts, int | float | str):
        raise RejectedReading(
            "time_malformed",
            f"{who} is {_json_type(ts)}, expected epoch milliseconds or RFC 3339 with an offset",
        )
    ms = _parse_rfc3339(ts, who) if isinstance(ts, str) else _whole_ms(ts, who)
    if limits.oldest_ms <= ms <= limits.newest_ms:
        return ms
    if isinstance(ts, int | float):
        _explain_scale(ms, who, limits)
    if ms < limits.oldest_ms:
        raise RejectedReading(
            "time_too_old", f"{who} {_stamp(ms)} is before {_stamp(limits.oldest_ms)[:10]}"
        )
    ahead_s = (ms - received_ms) / 1000
    raise RejectedReading(
        "time_in_future",
        f"{who} {_stamp(ms)} is {ahead_s:g} s ahead of the gateway's clock, at most "
        f"{(limits.newest_ms - received_ms) / 1000:g} s is allowed; check the device's clock",
    )


def _whole_ms(ts: float, who: str) -> int:
    if not math.isfinite(ts):
        raise RejectedReading("time_malformed", f"{who} {ts} is not a number")
    if ts != int(ts) and abs(ts) >= 1e11:
        raise RejectedReading("time_malformed", f"{who} {ts!r} is not whole milliseconds")
    return int(ts)


def _explain_scale(ms: int, who: str, limits: TimeLimits) -> None:
    """Raise for a number that would be a believable time in another unit."""
    for reason, unit, as_ms in (
        ("time_in_seconds", "seconds", ms * 1000),
        ("time_in_microseconds", "microseconds", ms // 1000),
        ("time_in_nanoseconds", "nanoseconds", ms // 1_000_000),
    ):
        if limits.oldest_ms <= as_ms <= limits.newest_ms:
            raise RejectedReading(
                reason, f"{who} {name_of(ms)} looks like {unit}, expected milliseconds"
            )


def _parse_rfc3339(text: str, who: str) -> int:
    try:
        return to_ms(msgspec.convert(text, AwareDatetime))
    except msgspec.ValidationError as error:
        if "timezone" in str(error):
            raise RejectedReading(
                "time_without_offset",
                f"{who} {name_of(text)} has no offset; add Z or +hh:mm",
            ) from None
        raise RejectedReading(
            "time_malformed", f"{who} {name_of(text)} is not RFC 3339, e.g. 2026-05-04T08:15:30Z"
        ) from None


def _check_measure(measure: Measure, value: object, sensor: str) -> float | None:
    """Return the value, None for one that was not measured; raise RejectedReading."""
    who = f"sensor {name_of(sensor)}: {measure.name}"
    if value is None:
        if measure.required:
            raise RejectedReading(
                "missing_measure", f"{who} is missing, expected {measure.unit} as a number"
            )
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RejectedReading(
            "wrong_type", f"{who} {name_of(value)} is {_json_type(value)}, expected a number"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise RejectedReading(
            "not_a_number",
            f"{who} {value} is not a number; leave the field out, or send null, "
            "for what was not measured",
        )
    if not measure.minimum <= value <= measure.maximum:
        hint = f" ({measure.hint})" if measure.hint else ""
        shown = f"{value:g}" if isinstance(value, float) else name_of(value)
        raise RejectedReading(
            "out_of_range", f"{who} {shown} is outside {measure.range_text}{hint}"
        )
    if measure.integer and value != int(value):
        raise RejectedReading("not_whole", f"{who} {value:g} is not a whole number")
    return value


def _json_type(value: object) -> str:
    return "null" if value is None else _JSON_TYPES.get(type(value), "a number")


def _stamp(ms: int) -> str:
    return rfc3339(ms) if 0 <= ms <= _FARTHEST_MS else f"{name_of(ms)} ms since 1970"
