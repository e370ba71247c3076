"""What is usual on a road segment at each time of day, from earlier days of the same sort."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from feeds.history.encodings import Row
from feeds.history.query import Span, refuse
from feeds.history.statements import moment

__all__ = [
    "SLOT_MIN",
    "USUAL",
    "Usual",
    "UsualSlot",
    "comparable_days",
    "day_type",
    "days_span",
    "read_date",
    "usual_values",
]

SLOT_MIN = 15
QUANTILES = (0.1, 0.5, 0.9)


class UsualSlot(msgspec.Struct, frozen=True):
    """A quarter of an hour of the day; null where no earlier day has a value then."""

    minute: int
    """Start, minutes after local midnight."""
    days: int
    """How many days it is known from."""
    speed_kmh: float | None
    """Median of the windows' space-mean speeds."""
    speed_low_kmh: float | None
    """One window in ten was slower …"""
    speed_high_kmh: float | None
    """… and one in ten faster."""
    flow_veh_h: float | None
    flow_low_veh_h: float | None
    flow_high_veh_h: float | None


class Usual(msgspec.Struct, frozen=True):
    """The usual day of a segment, as seen from ``date``."""

    segment: str
    date: str
    time_zone: str
    day_type: str
    """weekday, saturday or sunday."""
    compared_days: list[str]
    """Days that were looked at, the newest first."""
    slots: list[UsualSlot]

    @classmethod
    def of(
        cls,
        segment: str,
        day: dt.date,
        zone: ZoneInfo,
        days: Sequence[dt.date],
        rows: Sequence[Row],
    ) -> Usual:
        """Build from the rows of ``USUAL``."""
        slots = [
            UsualSlot(minute, count, *_in_order(speeds), *_in_order(flows))
            for minute, count, speeds, flows in rows
        ]
        named = [d.isoformat() for d in days]
        return cls(segment, day.isoformat(), zone.key, day_type(day), named, slots)


def _in_order(quantiles: Sequence[float] | None) -> tuple[float | None, float | None, float | None]:
    """Return median, low and high."""
    if quantiles is None:
        return None, None, None
    low, median, high = quantiles
    return median, low, high


def day_type(day: dt.date) -> str:
    """Return the sort of day: Mondays to Fridays are alike, Saturdays and Sundays are not."""
    return {5: "saturday", 6: "sunday"}.get(day.weekday(), "weekday")


def comparable_days(day: dt.date, count: int) -> list[dt.date]:
    """Return the ``count`` days before ``day`` that are of its sort, the newest first."""
    wanted, found, at = day_type(day), list[dt.date](), day
    while len(found) < count:
        at -= dt.timedelta(days=1)
        if day_type(at) == wanted:
            found.append(at)
    return found


def days_span(days: Sequence[dt.date], zone: ZoneInfo) -> Span:
    """Return the span from the oldest of the days to the end of the newest, by local midnights."""
    start, end = min(days), max(days) + dt.timedelta(days=1)
    return Span(_midnight(start, zone), _midnight(end, zone))


def _midnight(day: dt.date, zone: ZoneInfo) -> int:
    return int(dt.datetime.combine(day, dt.time(), zone).timestamp() * 1000)


def read_date(query: Mapping[str, str], now: int, zone: ZoneInfo) -> dt.date:
    """Return the day asked for, by default the one of ``now`` [epoch ms]."""
    text = query.get("date")
    if text is None:
        return dt.datetime.fromtimestamp(now / 1000, zone).date()
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        refuse("date", text, "give a day as 2026-05-04")
    if not 1980 <= day.year <= 9000:
        refuse("date", text, "give a day between the years 1980 and 9000")
    return day


# Quantiles over the windows, not over means of a quarter of an hour: what is seen in a window is
# to be held against what windows usually are.
USUAL = f"""
WITH windows AS (
    SELECT window_start AT TIME ZONE %(zone)s AS at, space_mean_speed_kmh, flow_veh_h
    FROM results_traffic
    WHERE segment = %(segment)s AND window_start >= %(from)s AND window_start < %(to)s)
SELECT (extract(hour FROM at) * 60
        + floor(extract(minute FROM at) / {SLOT_MIN}) * {SLOT_MIN})::int AS minute,
    count(DISTINCT at::date)::int,
    percentile_cont(ARRAY{list(QUANTILES)}) WITHIN GROUP (ORDER BY space_mean_speed_kmh),
    percentile_cont(ARRAY{list(QUANTILES)}) WITHIN GROUP (ORDER BY flow_veh_h)
FROM windows WHERE at::date = ANY(%(days)s) GROUP BY minute ORDER BY minute
"""  # noqa: S608 constants of this module


def usual_values(segment: str, days: Sequence[dt.date], zone: ZoneInfo) -> dict[str, Any]:
    """Return the parameters of ``USUAL``."""
    span = days_span(days, zone)
    return {
        "segment": segment,
        "zone": zone.key,
        "days": list(days),
        "from": moment(span.start),
        "to": moment(span.end),
    }
