"""PostgreSQL's binary COPY format built from numpy columns, without a loop over rows.

Format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": a header, per
row the number of fields, per field its length (-1 for null) and its bytes in network order, and
a trailer. The rows are laid out as one matrix of bytes, each field as wide as its widest value;
bytes that a row does not have (nulls, shorter texts) are then masked out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEADER", "TRAILER", "ColumnType", "copy_buffer", "integers", "representable"]

ColumnType = Literal["int4", "int8", "float8", "timestamptz", "text", "jsonb"]
"""``timestamptz`` takes epoch milliseconds, ``text`` a sequence of str or None, ``jsonb``
the same with JSON in it, the numbers take arrays; NaN in a float array is null, also where it goes
into an integer column."""

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

_NUMPY = {"int4": ">i4", "int8": ">i8", "float8": ">f8", "timestamptz": ">i8"}
_PG_EPOCH_MS = 946_684_800_000  # 2000-01-01 UTC
# timestamptz ends with the year 294276; the lower end is far before any clock (4714 BC).
_LAST_TS_MS = 9_224_318_015_999_999
_FIRST_TS_MS = -210_866_803_200_000
_INT32 = np.iinfo(np.int32)
_JSONB_VERSION = b"\x01"
"""Comes before the text: jsonb_recv in PostgreSQL's jsonb.c."""


@dataclass(frozen=True)
class _Field:
    """One column as bytes: ``data`` uint8[n, width]; ``length`` int32[n], -1 for null."""

    data: NDArray[np.uint8]
    length: NDArray[np.int32]


def representable(column_type: ColumnType, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return bool[n]: which values the column type can hold (NaN is null and passes)."""
    fits: NDArray[np.bool_] = np.ones(len(values), np.bool_)
    if column_type == "int4":
        fits = (values >= _INT32.min) & (values <= _INT32.max)
        if values.dtype.kind == "f":
            fits = (fits & (values == np.trunc(values))) | np.isnan(values)
    elif column_type == "timestamptz":
        fits = (values >= _FIRST_TS_MS) & (values <= _LAST_TS_MS)
        if values.dtype.kind == "f":
            fits |= np.isnan(values)
    return fits


def integers(values: Sequence[int | None]) -> NDArray[Any]:
    """Return the column of these numbers, which JSON lets be of any size; None becomes NaN.

    A column with None in it is of floats, which are exact to 2**53: for times, not for keys.
    """
    if None in values:
        far = 2**70  # whatever is beyond fits no column either
        numbers = [np.nan if v is None else min(max(v, -far), far) for v in values]
        return np.array(numbers, np.float64)
    try:
        return np.array(values, np.int64)
    except OverflowError:  # the row is to fail on it when it is written, not the batch here
        return np.array(values, object)


def copy_buffer(
    types: Sequence[ColumnType], columns: Sequence[NDArray[Any] | Sequence[str | None]]
) -> bytes:
    """Return the rows as one binary COPY stream.

    ``columns`` all have the same length. Raise OverflowError when a number does not fit its
    column; check with ``representable`` first.
    """
    fields = [_field(t, c) for t, c in zip(types, columns, strict=True)]
    rows = len(fields[0].length)
    width = 2 + sum(4 + field.data.shape[1] for field in fields)
    matrix = np.empty((rows, width), np.uint8)
    matrix[:, :2] = np.frombuffer(len(fields).to_bytes(2, "big"), np.uint8)
    ragged: list[tuple[int, _Field]] = []
    at = 2
    for field in fields:
        size = field.data.shape[1]
        matrix[:, at : at + 4] = field.length.astype(">i4").view(np.uint8).reshape(rows, 4)
        matrix[:, at + 4 : at + 4 + size] = field.data
        if rows and field.length.min() < size:
            ragged.append((at + 4, field))
        at += 4 + size
    body = matrix[_kept(matrix.shape, ragged)] if ragged else matrix
    return HEADER + body.tobytes() + TRAILER


def _kept(shape: tuple[int, ...], ragged: list[tuple[int, _Field]]) -> NDArray[np.bool_]:
    """Return bool[rows, width]: the bytes that belong to the stream."""
    kept = np.ones(shape, np.bool_)
    for at, field in ragged:
        size = field.data.shape[1]
        kept[:, at : at + size] = np.arange(size) < field.length[:, None]
    return kept


def _field(column_type: ColumnType, values: NDArray[Any] | Sequence[str | None]) -> _Field:
    if column_type == "text":
        return _text_field(values)  # type: ignore[arg-type]
    if column_type == "jsonb":
        return _text_field(values, _JSONB_VERSION)  # type: ignore[arg-type]
    numbers = np.asarray(values)
    if not representable(column_type, numbers).all():
        bad = numbers[~representable(column_type, numbers)][0]
        raise OverflowError(f"{bad!r} does not fit a column of type {column_type}")
    null = np.isnan(numbers) if numbers.dtype.kind == "f" else np.zeros(len(numbers), np.bool_)
    if column_type == "timestamptz":
        numbers = np.where(null, 0, numbers) if null.any() else numbers
        numbers = (numbers.astype(np.int64) - _PG_EPOCH_MS) * 1000
    elif column_type != "float8":
        numbers = np.where(null, 0, numbers)
    wire = np.ascontiguousarray(numbers, dtype=_NUMPY[column_type])
    size = wire.dtype.itemsize
    length = np.where(null, np.int32(-1), np.int32(size))
    return _Field(wire.view(np.uint8).reshape(len(wire), size), length)


def _text_field(values: Sequence[str | None], prefix: bytes = b"") -> _Field:
    encoded = [b"" if value is None else prefix + value.encode() for value in values]
    length = np.fromiter(map(len, encoded), np.int32, count=len(encoded))
    size = int(length.max()) if len(length) else 0
    if size:
        data = np.array(encoded, dtype=f"S{size}").view(np.uint8).reshape(len(encoded), size)
    else:
        data = np.empty((len(encoded), 0), np.uint8)
    null = np.fromiter((value is None for value in values), np.bool_, count=len(encoded))
    return _Field(data, np.where(null, np.int32(-1), length))
