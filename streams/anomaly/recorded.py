"""A recorded series row by row: what a line of a CSV file says, and why it cannot be used."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from civicstream.errors import ConfigurationError

__all__ = ["Row", "read_rows"]

_MISSING = {"", "nan", "na", "n/a", "null", "none", "-"}
_MILLISECONDS_FROM = 1e11
"""Larger epoch numbers are milliseconds: as seconds they would be after the year 5000."""
_CLOCK_SET_BACK_AFTER = 10
"""Rows in a row that are older than the newest: then that one was wrong, not these."""


@dataclass(frozen=True)
class Row:
    """One data row of the file.

    ``value`` is NaN and ``at_ms`` 0 where they could not be read; ``problem`` is the sentence
    that says so, empty for a row that can be scored or merely has no value.
    """

    line: int
    timestamp: str
    at_ms: int
    value: float
    problem: str = ""


def read_rows(path: Path, *, timestamp_column: str, value_column: str) -> Iterator[Row]:
    """Yield the rows of a CSV file with a header, in its order, holding one at a time.

    Timestamps are ISO 8601 or epoch seconds or milliseconds. Raises ConfigurationError when the
    file cannot be opened or lacks a column.
    """
    try:
        file = path.open(encoding="utf-8-sig", errors="replace", newline="")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {path}: {error.strerror}; give the path of a CSV file with a header"
        ) from None
    with file:
        yield from _rows(path, file, timestamp_column, value_column)


def _rows(path: Path, file: TextIO, timestamp_column: str, value_column: str) -> Iterator[Row]:
    lines = csv.reader(file)
    header = [name.strip() for name in next(lines, [])]
    for name in (timestamp_column, value_column):
        if name not in header:
            raise ConfigurationError(
                f"{path} has no column {name!r}, only {', '.join(map(repr, header)) or 'none'}; "
                "name it with --timestamp-column or --value-column"
            )
    at, of = header.index(timestamp_column), header.index(value_column)
    order = _Order()
    while True:
        try:
            fields = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(lines.line_num, "", 0, math.nan, f"{error}; mend or remove the line")
            continue
        if not fields:
            continue
        if len(fields) <= max(at, of):
            yield Row(
                lines.line_num,
                fields[at] if at < len(fields) else "",
                0,
                math.nan,
                f"{len(fields)} fields where the header has {len(header)}; complete the line",
            )
            continue
        yield order.checked(_row(lines.line_num, fields[at].strip(), fields[of].strip()))


def _row(line: int, timestamp: str, text: str) -> Row:
    try:
        value = math.nan if text.lower() in _MISSING else float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        return Row(line, timestamp, 0, math.nan, f"value {text!r} is no number; leave it empty")
    at = _instant(timestamp)
    if at is None:
        return Row(
            line, timestamp, 0, value,
            f"timestamp {timestamp!r} is no time; write it as 2015-09-01 13:45:00 or epoch seconds",
        )  # fmt: skip
    return Row(line, timestamp, at, value)


def _instant(text: str) -> int | None:
    """Return epoch ms, or None. Times with an offset keep their own wall clock."""
    try:
        number = float(text)
    except ValueError:
        try:
            time = datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            return None
        return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    if not abs(number) < 1e15:
        return None
    return int(number if abs(number) >= _MILLISECONDS_FROM else number * 1000)


class _Order:
    """Which rows come at a time of their own, after those before."""

    def __init__(self) -> None:
        self._newest: Row | None = None
        self._older_in_a_row = 0

    def checked(self, row: Row) -> Row:
        """Return the row, with its problem if it repeats a time or comes out of order."""
        if row.problem:
            return row
        newest = self._newest
        if newest is None or row.at_ms > newest.at_ms:
            return self._accepted(row)
        self._older_in_a_row += row.at_ms < newest.at_ms
        if self._older_in_a_row > _CLOCK_SET_BACK_AFTER:
            return self._accepted(row)
        what = "repeats the time of" if row.at_ms == newest.at_ms else "is older than"
        problem = f"timestamp {row.timestamp!r} {what} line {newest.line}; sort the file by time"
        return Row(row.line, row.timestamp, row.at_ms, row.value, problem)

    def _accepted(self, row: Row) -> Row:
        self._newest, self._older_in_a_row = row, 0
        return row
