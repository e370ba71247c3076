"""Columns that follow from the fields of the events.

An event that is one row has a column for each of its fields. A window's result has a row for
each segment or measure: the columns of the row, and before them those of the window, which have
``window_`` before their name where the row has a field of that name too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec

from civicstream.events import EnvironmentResult, TrafficResult
from sinks.database.copy_binary import ColumnType

__all__ = ["RESULTS", "ResultColumn", "field_columns", "result_columns", "result_statements"]

# Fields that are epoch milliseconds, whatever event they are of.
_TIMES = {
    "estimated_start",
    "first_evidence",
    "last_evidence",
    "since",
    "started_at",
    "last_at",
    "window_end",
    "computed_at",
    "reported_at",
    "received_at",
    "opened_at",
    "updated_at",
    "due_at",
    "shift_end",
    "at",
    "proposed_at",
    "arrival_at",
    "decided_at",
    "emptied_at",
    "predicted_full_at",
    "full_low",
    "full_high",
    "planned_at",
    "ends_at",
    "cleared_at",
    "acknowledged_at",
    "silenced_until",
    "window_start",
}
_LONG = {"sensor_key", "epoch", "first", "missing"}
_TYPES: dict[object, ColumnType] = {int: "int4", float: "float8", str: "text"}
_SQL: dict[ColumnType, str] = {
    "int4": "integer",
    "int8": "bigint",
    "float8": "double precision",
    "timestamptz": "timestamptz",
    "text": "text",
    "jsonb": "jsonb",
}

RESULTS: dict[str, type[msgspec.Struct]] = {
    "results_traffic": TrafficResult,
    "results_environment": EnvironmentResult,
}
"""Table -> the result whose rows it keeps."""


@dataclass(frozen=True)
class ResultColumn:
    """One column of a result's table, and the field that it is of."""

    name: str
    type: ColumnType
    field: str
    of_row: bool
    """False: of the whole window."""


def field_columns(event: type[msgspec.Struct]) -> dict[str, ColumnType]:
    """Return field -> type of its column."""
    return {field.name: _column_type(field) for field in msgspec.structs.fields(event)}


@cache
def result_columns(result: type[msgspec.Struct]) -> tuple[ResultColumn, ...]:
    """Return the columns of a result's table; its status is not kept, only finals are."""
    window = [f for f in msgspec.structs.fields(result) if f.name != "status"]
    (rows,) = (f for f in window if get_origin(f.type) is list)
    (row,) = get_args(rows.type)
    of_row = field_columns(row)
    return (
        *(
            ResultColumn(
                f"window_{f.name}" if f.name in of_row else f.name,
                _column_type(f),
                f.name,
                of_row=False,
            )
            for f in window
            if f is not rows
        ),
        *(ResultColumn(name, of, name, of_row=True) for name, of in of_row.items()),
    )


def result_statements(table: str) -> list[str]:
    """Return the DDL that adds to a result's table the columns that it lacks.

    They are null in the rows that are already there.
    """
    return [
        f'ALTER TABLE {table} ADD COLUMN IF NOT EXISTS "{column.name}" {_SQL[column.type]}'
        for column in result_columns(RESULTS[table])
    ]


def _column_type(field: msgspec.structs.FieldInfo) -> ColumnType:
    if field.name in _TIMES:
        return "timestamptz"
    if field.name in _LONG:
        return "int8"
    (of,) = set(_kinds(field.type))
    return "jsonb" if of in (list, dict) else _TYPES[of]


def _kinds(of: Any) -> Iterator[Any]:
    """Yield the kinds of value that a field may have, apart from None."""
    if get_origin(of) in (list, dict):
        yield get_origin(of)
    elif get_args(of):  # a union of types, or a Literal of values
        for part in get_args(of):
            yield from _kinds(part)
    elif of is not NoneType:
        yield of if isinstance(of, type) else type(of)
