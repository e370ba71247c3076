"""Rows of a list as JSON, CSV, GeoJSON and Arrow."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec
import pyarrow as pa

from civicstream.clock import rfc3339
from feeds.history.columns import Column, ColumnType

__all__ = ["Row", "items", "to_arrow", "to_csv", "to_geojson", "to_json"]

Row = Sequence[Any]
"""Values as they leave the database: times as epoch ms, json as text."""

_ARROW: dict[ColumnType, pa.DataType] = {
    "text": pa.utf8(),
    "int": pa.int64(),
    "float": pa.float64(),
    "time": pa.timestamp("ms", tz="UTC"),
    "json": pa.utf8(),
    "list": pa.list_(pa.float64()),
}
# What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def items(columns: Sequence[Column], rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the rows as objects for msgspec; json goes through unread."""
    names = [column.name for column in columns]
    raw = [number for number, column in enumerate(columns) if column.type == "json"]
    if not raw:
        return [dict(zip(names, row, strict=True)) for row in rows]
    return [dict(zip(names, _with_raw(row, raw), strict=True)) for row in rows]


def _with_raw(row: Row, raw: Sequence[int]) -> list[Any]:
    values = list(row)
    for number in raw:
        if values[number] is not None:
            values[number] = msgspec.Raw(values[number].encode())
    return values


def to_json(columns: Sequence[Column], rows: Sequence[Row], more: dict[str, Any]) -> bytes:
    """Return an object with ``items`` and the members of ``more``."""
    return msgspec.json.encode({"items": items(columns, rows), **more})


def to_csv(columns: Sequence[Column], rows: Iterable[Row], *, header: bool = True) -> bytes:
    """Return RFC 4180 with times in RFC 3339; text that looks like a formula is disarmed."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    if header:
        writer.writerow([column.name for column in columns])
    convert = [_CSV.get(column.type) for column in columns]
    for row in rows:
        writer.writerow(
            [
                value if value is None or how is None else how(value)
                for how, value in zip(convert, row, strict=True)
            ]
        )
    return buffer.getvalue().encode()


def _disarmed(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


_CSV: dict[str, Callable[[Any], str]] = {"time": rfc3339, "text": _disarmed, "json": _disarmed}


def to_geojson(
    columns: Sequence[Column],
    rows: Sequence[Row],
    place: Literal["point", "geometry"],
    more: dict[str, Any],
) -> bytes:
    """Return a FeatureCollection (RFC 7946); rows without a place have a null geometry."""
    features = []
    for item in items(columns, rows):
        geometry: Any
        if place == "geometry":
            geometry = item.pop("geometry")
        else:
            point = [item.pop("lon"), item.pop("lat")]
            geometry = None if None in point else {"type": "Point", "coordinates": point}
        feature = {"type": "Feature", "id": item.get("id"), "geometry": geometry}
        features.append({**feature, "properties": item})
    return msgspec.json.encode({"type": "FeatureCollection", "features": features, **more})


def to_arrow(columns: Sequence[Column], rows: Sequence[Row]) -> bytes:
    """Return an Arrow IPC stream of one batch; what a column means is in its metadata."""
    fields = [
        pa.field(c.name, _ARROW[c.type], metadata={"description": c.description}) for c in columns
    ]
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = [pa.array(v, field.type) for v, field in zip(values, fields, strict=True)]
    schema = pa.schema(fields)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(arrays, schema=schema))
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded
