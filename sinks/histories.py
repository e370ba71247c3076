"""Events that become a row each: their tables follow from their fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
import numpy as np

from sinks.database.copy_binary import ColumnType, integers
from sinks.dead_letters import printable
from sinks.tables import BulkTable

__all__ = ["event_columns", "history_table", "newest_table"]

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
}
_LONG = {"sensor_key", "epoch", "first", "missing"}
_TYPES: dict[object, ColumnType] = {int: "int4", float: "float8", str: "text"}


def history_table(name: str, event: type[msgspec.Struct], key: tuple[str, ...]) -> BulkTable:
    """Return the table whose columns are the event's fields; of two rows the first one stays."""
    columns = {field.name: _column_type(field) for field in msgspec.structs.fields(event)}
    return BulkTable(name, tuple(columns), tuple(columns.values()), key, "DO NOTHING")


def newest_table(
    name: str, event: type[msgspec.Struct], key: tuple[str, ...], time: str
) -> BulkTable:
    """Return the table that keeps the newest event of each key by its field ``time``."""
    whole = history_table(name, event, key)
    changed = ", ".join(f"{c} = excluded.{c}" for c in whole.columns if c not in key)
    newer = f"DO UPDATE SET {changed} WHERE excluded.{time} > {name}.{time}"
    return BulkTable(name, whole.columns, whole.types, key, newer)


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


def event_columns(events: Sequence[msgspec.Struct], table: BulkTable) -> list[Any]:
    """Return a column per field of the events, in the order of ``table``."""
    columns: list[Any] = []
    for name, of in zip(table.columns, table.types, strict=True):
        values = [getattr(event, name) for event in events]
        match of:
            case "text":
                columns.append([printable(value) for value in values])
            case "jsonb":
                columns.append([_json(value) for value in values])
            case "float8":
                columns.append(np.array(values, np.float64))
            case _:
                columns.append(integers(values))
    return columns


def _json(value: Any) -> str:
    """Return the value as JSON without the NUL that PostgreSQL cannot store in jsonb either."""
    text = msgspec.json.encode(value).decode()
    if "\\u0000" in text:
        text = msgspec.json.encode(_without_nul(msgspec.json.decode(text))).decode()
    return text


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {printable(name): _without_nul(item) for name, item in value.items()}
    return value
