"""What rules can look at: for each topic its subjects, their fields, and an event as columns."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from civicstream.events import (
    Anomaly,
    Counts,
    EnvironmentResult,
    ForecastRow,
    FrameGap,
    Incident,
    LedgerReport,
    SensorHealth,
    TrafficForecast,
    TrafficResult,
)
from civicstream.kinds import KINDS
from civicstream.service_events import Allocation, Case, Demand

__all__ = ["SOURCES", "EventColumns", "FieldType", "InnerFields", "Source"]

FieldType = Literal["number", "text"]

Floats = NDArray[np.float64]
Objects = NDArray[np.object_]

_MINUTE_MS = 60_000
CITY = "city"
"""Area of what concerns no area in particular."""


class InnerFields(Protocol):
    """Values inside a field, by a dotted path: ``speed_kmh.15``, ``gauges.lag``."""

    def type_of(self, path: str) -> FieldType | None:
        """Return the type of a path's values, None where there is no such path."""
        ...

    def value(self, event: Any, row: Any, path: str) -> float | None:
        """Return the value at a path that has a type; None where this event has none there."""
        ...


@dataclass(frozen=True)
class Source:
    """A topic, and how its events are read."""

    topic: str
    event: type[msgspec.Struct]
    subject: str
    """What its events are about: ``segment``, ``incident``, ..."""
    named_by: tuple[str, ...]
    """The fields of event or row that name a subject, joined by slashes."""
    at: str
    """Field with the event's time."""
    order: str
    """Field that distinguishes a newer event of a subject from an older one."""
    rows: str | None = None
    """Field with a list of rows, a subject each; None: the event is its only row."""
    inner: InnerFields | None = None
    windowed: bool = False
    """Comes with every window, so that its time is the events', not the clock's."""
    forget_after_ms: int = 0
    machine_time: bool = False
    """Dated by the machine's clock, not by the city's; so are the rules over it."""

    @cached_property
    def row(self) -> type[msgspec.Struct] | None:
        """The type of the rows; None: the event is its only row."""
        if self.rows is None:
            return None
        (row,) = typing.get_args(typing.get_type_hints(self.event)[self.rows])
        return typing.cast("type[msgspec.Struct]", row)

    @cached_property
    def by_area(self) -> bool:
        """Whether an event is of one area; else it is of the city."""
        return "area" in self.event.__struct_fields__

    @cached_property
    def on_segments(self) -> bool:
        """Whether each row is of one road segment."""
        return "segment" in (self.row or self.event).__struct_fields__

    @cached_property
    def fields(self) -> dict[str, FieldType]:
        """The plain fields and their types."""
        found = {**_fields_of(self.event), **(_fields_of(self.row) if self.row else {})}
        return found | {"area": "text"}

    def field_type(self, path: str) -> FieldType | None:
        """Return the type of a field, None where there is no such field."""
        if path in self.fields or self.inner is None or "." not in path:
            return self.fields.get(path)
        return self.inner.type_of(path)

    def batch(self, event: Any) -> EventColumns:
        """Return the event as columns."""
        return EventColumns(
            self, event, [event] if self.rows is None else getattr(event, self.rows)
        )


@dataclass
class EventColumns:
    """An event's rows; every column is made once, however many rules look at it."""

    source: Source
    event: Any
    rows: Sequence[Any]
    _numbers: dict[str, Floats] = field(default_factory=dict)
    _texts: dict[str, Objects] = field(default_factory=dict)

    @property
    def at(self) -> int:
        at: int = getattr(self.event, self.source.at)
        return at

    @property
    def order(self) -> int:
        order: int = getattr(self.event, self.source.order)
        return order

    @property
    def area(self) -> str:
        return str(self.event.area) if self.source.by_area else CITY

    def names(self) -> list[str]:
        """Return the subjects' names."""
        first, *others = ([str(v) for v in self._values(n)] for n in self.source.named_by)
        return list(map("/".join, zip(first, *others, strict=True))) if others else first

    def segments(self) -> list[str] | None:
        """Return each row's segment, None where the source has none."""
        return self._values("segment") if self.source.on_segments else None

    def numbers(self, path: str) -> Floats:
        """Return a field of every row; NaN where it is null."""
        if path not in self._numbers:
            self._numbers[path] = np.array(self._values(path), dtype=np.float64)
        return self._numbers[path]

    def texts(self, path: str) -> Objects:
        """Return a field of every row as it is; None where it is null."""
        if path not in self._texts:
            column = np.empty(len(self.rows), dtype=object)
            column[:] = self._values(path)
            self._texts[path] = column
        return self._texts[path]

    def _values(self, path: str) -> list[Any]:
        """Return a field of every row, the row's own or the event's."""
        source = self.source
        if "." in path and source.inner is not None:
            return [source.inner.value(self.event, row, path) for row in self.rows]
        if source.row is not None and path in source.row.__struct_fields__:
            return list(map(attrgetter(path), self.rows))
        value = self.area if path == "area" else getattr(self.event, path)
        return [value] * len(self.rows)


def _fields_of(struct: type[msgspec.Struct]) -> dict[str, FieldType]:
    found: dict[str, FieldType] = {}
    for name, hint in typing.get_type_hints(struct).items():
        kind = _type_of(hint)
        if kind is not None:
            found[name] = kind
    return found


def _type_of(hint: Any) -> FieldType | None:
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        inner = [_type_of(part) for part in typing.get_args(hint) if part is not type(None)]
        return inner[0] if len(inner) == 1 else None
    if origin is Literal:
        return "text" if isinstance(typing.get_args(hint)[0], str) else "number"
    if hint is str:
        return "text"
    return "number" if hint in {int, float, bool} else None


class _Horizons:
    """Of a forecast ``FIELD.MINUTES``: its value for that horizon."""

    def type_of(self, path: str) -> FieldType | None:
        name, _, minutes = path.partition(".")
        known = name in ForecastRow.__struct_fields__ and name != "segment" and minutes.isdigit()
        return "number" if known else None

    def value(self, event: TrafficForecast, row: ForecastRow, path: str) -> float | None:
        name, minutes = path.split(".")
        if int(minutes) not in event.horizons_min:
            return None
        value: float | None = getattr(row, name)[event.horizons_min.index(int(minutes))]
        return value


class _Hours:
    """Of a demand ``expected.N``: the N-th hour from now, counted from one."""

    def type_of(self, path: str) -> FieldType | None:
        name, _, hour = path.partition(".")
        known = name in {"expected", "expected_low", "expected_high"} and hour.isdigit()
        return "number" if known else None

    def value(self, event: Demand, _row: Demand, path: str) -> float | None:
        name, hour = path.split(".")
        values: list[float] = getattr(event, name)
        return values[int(hour) - 1] if 0 < int(hour) <= len(values) else None


class _LedgerFigures:
    """Of a ledger report ``gauges.NAME``, ``total.COUNT`` and ``kinds.KIND.COUNT``."""

    _COUNTS = (*Counts.__struct_fields__, "imbalance")

    def type_of(self, path: str) -> FieldType | None:
        group, _, name = path.partition(".")
        if group == "gauges":
            known = bool(name)
        elif group == "total":
            known = name in self._COUNTS
        else:
            kind, _, count = name.partition(".")
            known = group == "kinds" and kind in {*KINDS, "report"} and count in self._COUNTS
        return "number" if known else None

    def value(self, report: LedgerReport, _row: LedgerReport, path: str) -> float | None:
        group, name = path.split(".", 1)
        if group == "gauges":
            return report.gauges.get(name)
        if group == "total":
            return float(sum(getattr(counts, name) for counts in report.kinds.values()))
        kind, name = name.split(".")
        counts = report.kinds.get(kind)
        return None if counts is None else float(getattr(counts, name))


_ALL = (
    Source(
        topic="results.traffic",
        event=TrafficResult,
        subject="segment",
        named_by=("segment",),
        at="window_end",
        order="window_end",
        rows="segments",
        windowed=True,
        forget_after_ms=15 * _MINUTE_MS,
    ),
    Source(
        topic="results.environment",
        event=EnvironmentResult,
        subject="environment",
        named_by=("area", "kind", "measure"),
        at="window_end",
        order="window_end",
        rows="measures",
        windowed=True,
        forget_after_ms=15 * _MINUTE_MS,
    ),
    Source(
        topic="incidents",
        event=Incident,
        subject="incident",
        named_by=("id",),
        at="window_end",
        order="version",
    ),
    Source(
        topic="cases",
        event=Case,
        subject="case",
        named_by=("id",),
        at="updated_at",
        order="version",
    ),
    Source(
        topic="health",
        event=SensorHealth,
        subject="sensor",
        named_by=("sensor_key",),
        at="window_end",
        order="window_end",
    ),
    Source(
        topic="anomalies",
        event=Anomaly,
        subject="anomaly",
        named_by=("id",),
        at="window_end",
        order="version",
    ),
    Source(
        topic="demand",
        event=Demand,
        subject="demand",
        named_by=("area", "service"),
        at="at",
        order="at",
        inner=_Hours(),
        windowed=True,
        forget_after_ms=30 * _MINUTE_MS,
    ),
    Source(
        topic="forecasts",
        event=TrafficForecast,
        subject="segment",
        named_by=("segment",),
        at="made_at",
        order="made_at",
        rows="segments",
        inner=_Horizons(),
        windowed=True,
        forget_after_ms=15 * _MINUTE_MS,
    ),
    Source(
        topic="allocations",
        event=Allocation,
        subject="allocation",
        named_by=("id",),
        at="decided_at",
        order="version",
    ),
    Source(
        topic="gaps",
        event=FrameGap,
        subject="gateway",
        named_by=("gateway",),
        at="at",
        order="at",
        forget_after_ms=60 * _MINUTE_MS,
    ),
    Source(
        topic="ledger",
        event=LedgerReport,
        subject="process",
        named_by=("stage", "instance"),
        at="at",
        order="at",
        inner=_LedgerFigures(),
        windowed=True,
        forget_after_ms=2 * _MINUTE_MS,
        machine_time=True,
    ),
)

SOURCES: dict[str, Source] = {source.topic: source for source in _ALL}
