"""What rules can look at: for each topic its subjects, their fields, and an event as columns."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from civicstream.events import (
    Anomaly,
    Counts,
    EnvironmentResult,
    EnvironmentRow,
    ForecastRow,
    FrameGap,
    Incident,
    LedgerReport,
    SensorHealth,
    TrafficForecast,
    TrafficResult,
    TrafficRow,
)
from civicstream.kinds import KINDS
from civicstream.service_events import Allocation, Case, Demand

__all__ = ["SOURCES", "Batch", "FieldType", "Source"]

FieldType = Literal["number", "text"]

Floats = NDArray[np.float64]
Objects = NDArray[np.object_]

_MINUTE_MS = 60_000
CITY = "city"
"""Area of what concerns no area in particular."""


@dataclass(frozen=True)
class Source:
    """A topic, and how its events are read."""

    topic: str
    event: type[msgspec.Struct]
    kind: str
    """Of the subjects: ``segment``, ``incident``, ..."""
    at: str
    """Field with the event's time."""
    order: str
    """Field that tells a newer event of a subject from an older one."""
    name: Callable[[Any, Any], str]
    """Name of a row's subject, from event and row."""
    rows: str | None = None
    """Field with the rows; None: the event is its only row."""
    row: type[msgspec.Struct] | None = None
    segment: bool = False
    """Whether a row has the field ``segment``."""
    windowed: bool = False
    """Comes with every window, so that time is told by the events, not by the clock."""
    forget_after_ms: int = 0
    dotted: Callable[[Any, Any, str], Any] | None = None
    dotted_type: Callable[[str], FieldType | None] = lambda _path: None
    area_field: bool = True
    machine_time: bool = False
    """Dated by the machine's clock, not by the city's; so are the rules over it."""

    @cached_property
    def fields(self) -> dict[str, FieldType]:
        """The plain fields and their types."""
        found = {**_fields_of(self.event), **(_fields_of(self.row) if self.row else {})}
        return found | {"area": "text"}

    def field_type(self, path: str) -> FieldType | None:
        """Return the type of a field, None where there is no such field."""
        return self.fields.get(path) or (self.dotted_type(path) if "." in path else None)

    def batch(self, event: Any) -> Batch:
        """Return the event as columns."""
        rows = getattr(event, self.rows) if self.rows else [event]
        return Batch(self, event, rows)


@dataclass
class Batch:
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
        return str(self.event.area) if self.source.area_field else CITY

    def names(self) -> list[str]:
        """Return the subjects' names."""
        if self.source.name is _segment_name:
            return list(map(attrgetter("segment"), self.rows))
        return [self.source.name(self.event, row) for row in self.rows]

    def segments(self) -> list[str] | None:
        """Return each row's segment, None where the source has none."""
        if not self.source.segment:
            return None
        return list(map(attrgetter("segment"), self.rows))

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
        source = self.source
        if "." in path and source.dotted is not None:
            return [source.dotted(self.event, row, path) for row in self.rows]
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


def _segment_name(_event: Any, row: Any) -> str:
    return str(row.segment)


def _id(_event: Any, row: Any) -> str:
    return str(row.id)


def _horizon(event: TrafficForecast, row: ForecastRow, path: str) -> float | None:
    name, minutes = path.split(".")
    if int(minutes) not in event.horizons_min:
        return None
    value: float | None = getattr(row, name)[event.horizons_min.index(int(minutes))]
    return value


def _horizon_type(path: str) -> FieldType | None:
    name, _, minutes = path.partition(".")
    known = name in ForecastRow.__struct_fields__ and name != "segment" and minutes.isdigit()
    return "number" if known else None


_COUNTS = (*Counts.__struct_fields__, "imbalance")


def _ledger_value(report: LedgerReport, _row: Any, path: str) -> float | None:
    group, name = path.split(".", 1)
    if group == "gauges":
        return report.gauges.get(name)
    if group == "total":
        return float(sum(getattr(counts, name) for counts in report.kinds.values()))
    kind, name = name.split(".")
    counts = report.kinds.get(kind)
    return None if counts is None else float(getattr(counts, name))


def _ledger_type(path: str) -> FieldType | None:
    group, *rest = path.split(".", 1 if path.startswith("gauges.") else 2)
    known = {
        "gauges": lambda: bool(rest[0]),
        "total": lambda: len(rest) == 1 and rest[0] in _COUNTS,
        "kinds": lambda: len(rest) == 2 and rest[0] in {*KINDS, "report"} and rest[1] in _COUNTS,
    }.get(group)
    return "number" if known is not None and known() else None


def _list_value(event: Any, _row: Any, path: str) -> float | None:
    name, number = path.split(".")
    values: list[float] = getattr(event, name)
    return values[int(number) - 1] if 0 < int(number) <= len(values) else None


def _hour_type(path: str) -> FieldType | None:
    name, _, number = path.partition(".")
    known = name in {"expected", "expected_low", "expected_high"} and number.isdigit()
    return "number" if known else None


_ALL = (
    Source(
        "results.traffic",
        TrafficResult,
        "segment",
        "window_end",
        "window_end",
        _segment_name,
        rows="segments",
        row=TrafficRow,
        segment=True,
        windowed=True,
        forget_after_ms=15 * _MINUTE_MS,
    ),
    Source(
        "results.environment",
        EnvironmentResult,
        "environment",
        "window_end",
        "window_end",
        name=lambda event, row: f"{event.area}/{event.kind}/{row.measure}",
        rows="measures",
        row=EnvironmentRow,
        windowed=True,
        forget_after_ms=15 * _MINUTE_MS,
    ),
    Source("incidents", Incident, "incident", "window_end", "version", _id, segment=True),
    Source("cases", Case, "case", "updated_at", "version", _id),
    Source(
        "health",
        SensorHealth,
        "sensor",
        "window_end",
        "window_end",
        name=lambda _event, row: str(row.sensor_key),
    ),
    Source("anomalies", Anomaly, "anomaly", "window_end", "version", _id),
    Source(
        "demand",
        Demand,
        "demand",
        "at",
        "at",
        name=lambda _event, row: f"{row.area}/{row.service}",
        windowed=True,
        forget_after_ms=30 * _MINUTE_MS,
        dotted=_list_value,
        dotted_type=_hour_type,
    ),
    Source(
        "forecasts",
        TrafficForecast,
        "segment",
        "made_at",
        "made_at",
        _segment_name,
        rows="segments",
        row=ForecastRow,
        segment=True,
        windowed=True,
        forget_after_ms=15 * _MINUTE_MS,
        dotted=_horizon,
        dotted_type=_horizon_type,
    ),
    Source("allocations", Allocation, "allocation", "decided_at", "version", _id),
    Source(
        "gaps",
        FrameGap,
        "gateway",
        "at",
        "at",
        name=lambda _event, row: str(row.gateway),
        forget_after_ms=60 * _MINUTE_MS,
        area_field=False,
    ),
    Source(
        "ledger",
        LedgerReport,
        "process",
        "at",
        "at",
        name=lambda _event, row: f"{row.stage}/{row.instance}",
        windowed=True,
        forget_after_ms=2 * _MINUTE_MS,
        dotted=_ledger_value,
        dotted_type=_ledger_type,
        area_field=False,
        machine_time=True,
    ),
)

SOURCES: dict[str, Source] = {source.topic: source for source in _ALL}
