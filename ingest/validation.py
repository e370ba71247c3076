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
from civicstream.reading_age import MaxAge

__all__ = [
    "LARGEST_NUMBER",
    "AwareDatetime",
    "Row",
    "TimeLimits",
    "check_number",
    "check_reading",
    "check_time",
    "name_of",
    "to_ms",
]

Row = tuple[Any, ...]
"""``(ts [epoch ms], measure, …)`` in the order of ``Kind.measures``; None: not measured."""

AwareDatetime = Annotated[datetime, msgspec.Meta(tz=True)]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FARTHEST_MS = 253_402_300_799_999  # the end of year 9999, the last that a datetime can print
_PLAUSIBLE_MS = 946_684_800_000  # 2000-01-01: earlier times are seconds sent as milliseconds

LARGEST_NUMBER = 2**63
"""JSON has integers of any length; beyond this they fit neither a float nor a database column."""

_names = reprlib.Repr()
_names.maxstring = _names.maxother = 60
_names.maxlong = 40
name_of = _names.repr
"""``repr`` of anything a device sent, cut so that it cannot flood a message."""

_JSON_TYPES = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}


@dataclass(frozen=True)
class TimeLimits:
    """The event times [epoch ms] that are taken at one moment."""

    now_ms: int
    newest_ms: int
    max_age: MaxAge | None = None
    """None: any time since 2000."""

    @property
    def oldest_ms(self) -> int:
        return _PLAUSIBLE_MS if self.max_age is None else self.max_age.oldest_ms(self.now_ms)


def to_ms(stamp: datetime) -> int:
    """Return an aware datetime as epoch milliseconds, parts of one cut off."""
    return (stamp - _EPOCH) // _MILLISECOND


def check_reading(kind: Kind, member: object, sensor: str, limits: TimeLimits) -> Row:
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
    ts = check_time(member.get("ts"), f"sensor {name_of(sensor)}: ts", limits)
    values = [_check_measure(m, member.get(m.name), sensor) for m in kind.measures]
    if all(value is None for value in values):
        raise RejectedReading(
            "no_measures",
            f"sensor {name_of(sensor)}: none of the measures of kind {kind.name!r} is present "
            f"({', '.join(kind.measure_names)})",
        )
    return (ts, *values)


def check_number(value: float, who: str) -> None:
    """Raise RejectedReading for NaN, an infinity, and what is beyond ±2^63."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RejectedReading(
            "not_a_number",
            f"{who} {value} is not a number; leave the field out, or send null, "
            "for what was not measured",
        )
    if abs(value) > LARGEST_NUMBER:
        raise RejectedReading(
            "number_too_large",
            f"{who} {_number(value)} is beyond ±2^63; send it in the unit that is asked for",
        )


def check_time(ts: object, who: str, limits: TimeLimits) -> int:
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
        if limits.max_age is not None:
            raise limits.max_age.too_old(who, ms, limits.now_ms)
        raise RejectedReading("too_old", f"{who} {_stamp(ms)} is before 2000-01-01")
    ahead_s = (ms - limits.now_ms) / 1000
    raise RejectedReading(
        "time_in_future",
        f"{who} {_stamp(ms)} is {ahead_s:g} s ahead of the gateway's clock, at most "
        f"{(limits.newest_ms - limits.now_ms) / 1000:g} s is allowed; check the device's clock",
    )


def _whole_ms(ts: float, who: str) -> int:
    if isinstance(ts, float) and not math.isfinite(ts):
        raise RejectedReading("time_malformed", f"{who} {ts} is not a number")
    if abs(ts) > LARGEST_NUMBER:
        raise RejectedReading(
            "number_too_large",
            f"{who} {_number(ts)} is beyond ±2^63; give epoch milliseconds or RFC 3339",
        )
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
        if _PLAUSIBLE_MS <= as_ms <= limits.newest_ms:
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
    except UnicodeEncodeError:
        raise RejectedReading(
            "lone_surrogate",
            f"{who} {name_of(text)} holds half of a surrogate pair, which is no character; "
            "send text in UTF-8",
        ) from None
    raise RejectedReading(
        "time_malformed", f"{who} {name_of(text)} is not RFC 3339, e.g. 2026-05-04T08:15:30Z"
    )


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
    check_number(value, who)
    if not measure.minimum <= value <= measure.maximum:
        hint = f" ({measure.hint})" if measure.hint else ""
        raise RejectedReading(
            "out_of_range", f"{who} {_number(value)} is outside {measure.range_text}{hint}"
        )
    if measure.integer and value != int(value):
        raise RejectedReading("not_whole", f"{who} {value:g} is not a whole number")
    return value


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else name_of(value)


def _json_type(value: object) -> str:
    return "null" if value is None else _JSON_TYPES.get(type(value), "a number")


def _stamp(ms: int) -> str:
    return rfc3339(ms) if 0 <= ms <= _FARTHEST_MS else f"{name_of(ms)} ms since 1970"
