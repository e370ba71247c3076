"""Events that become a row each: their tables follow from their fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from sinks.database.copy_binary import ColumnType, integers
from sinks.database.event_columns import field_columns
from sinks.dead_letters import printable
from sinks.tables import BulkTable

__all__ = ["column_values", "event_columns", "history_table", "newest_table"]


def history_table(name: str, event: type[msgspec.Struct], key: tuple[str, ...]) -> BulkTable:
    """Return the table whose columns are the event's fields; of two rows the first one stays."""
    columns = field_columns(event)
    return BulkTable(name, tuple(columns), tuple(columns.values()), key, "DO NOTHING")


def newest_table(
    name: str, event: type[msgspec.Struct], key: tuple[str, ...], time: str
) -> BulkTable:
    """Return the table that keeps the newest event of each key by its field ``time``."""
    whole = history_table(name, event, key)
    changed = ", ".join(f"{c} = excluded.{c}" for c in whole.columns if c not in key)
    newer = f"DO UPDATE SET {changed} WHERE excluded.{time} > {name}.{time}"
    return BulkTable(name, whole.columns, whole.types, key, newer)


def event_columns(events: Sequence[msgspec.Struct], table: BulkTable) -> list[Any]:
    """Return a column per field of the events, in the order of ``table``."""
    return [
        column_values([getattr(event, name) for event in events], of)
        for name, of in zip(table.columns, table.types, strict=True)
    ]


def column_values(values: Sequence[Any], of: ColumnType) -> Any:
    """Return the values of one field as COPY takes a column of that type."""
    match of:
        case "text":
            return [printable(value) for value in values]
        case "jsonb":
            return [_json(value) for value in values]
        case "float8":
            return np.array(values, np.float64)
        case _:
            return integers(values)


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
