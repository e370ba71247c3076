"""COPY buffers equal, byte for byte, what a plain loop over rows and struct writes."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.database.copy_binary import HEADER, TRAILER, ColumnType, copy_buffer, representable

PG_EPOCH_MS = 946_684_800_000

VALUES: dict[ColumnType, st.SearchStrategy[Any]] = {
    "int4": st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)),
    "int8": st.integers(-(2**63), 2**63 - 1),
    "float8": st.one_of(st.none(), st.floats(allow_nan=False)),
    "timestamptz": st.integers(-62_000_000_000_000, 9_000_000_000_000_000),
    "jsonb": st.one_of(st.none(), st.just('{"a": ["ü"]}'), st.just("[]")),
    "text": st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)),
}
FORMATS = {"int4": ">i", "int8": ">q", "float8": ">d", "timestamptz": ">q"}


def slow_buffer(types: list[ColumnType], rows: list[tuple[Any, ...]]) -> bytes:
    """What PostgreSQL's documentation says, one field after another."""
    out = bytearray(HEADER)
    for row in rows:
        out += struct.pack(">h", len(types))
        for column_type, value in zip(types, row, strict=True):
            if value is None:
                out += struct.pack(">i", -1)
                continue
            if column_type == "text":
                data = value.encode()
            elif column_type == "jsonb":
                data = b"\x01" + value.encode()
            elif column_type == "timestamptz":
                data = struct.pack(">q", (value - PG_EPOCH_MS) * 1000)
            else:
                data = struct.pack(FORMATS[column_type], value)
            out += struct.pack(">i", len(data)) + data
    return bytes(out + TRAILER)


def as_column(column_type: ColumnType, values: list[Any]) -> Any:
    if column_type in {"text", "jsonb"}:
        return values
    if column_type in {"float8", "int4"}:
        return np.array([math.nan if v is None else v for v in values], np.float64)
    return np.array(values, np.int64)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[ColumnType], list[tuple[Any, ...]]]:
    types = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=6))
    return types, draw(st.lists(st.tuples(*(VALUES[t] for t in types)), max_size=20))


@given(tables())
def test_buffer_is_what_a_loop_over_rows_writes(
    table: tuple[list[ColumnType], list[tuple[Any, ...]]],
) -> None:
    types, rows = table
    columns = [as_column(t, [row[i] for row in rows]) for i, t in enumerate(types)]
    assert copy_buffer(types, columns) == slow_buffer(types, rows)


@pytest.mark.parametrize("value", [0.5, 2.0**31, -math.inf])
def test_a_number_that_an_integer_column_cannot_hold_is_refused(value: float) -> None:
    column = np.array([1.0, value, math.nan])
    assert representable("int4", column).tolist() == [True, False, True]
    with pytest.raises(OverflowError, match="does not fit a column of type int4"):
        copy_buffer(["int4"], [column])


def test_a_time_after_the_last_year_of_postgresql_is_refused() -> None:
    last = 9_224_318_015_999_999
    column = np.array([last, last + 1], np.int64)
    assert representable("timestamptz", column).tolist() == [True, False]
