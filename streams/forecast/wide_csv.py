"""A recorded table: a header row of sensor ids, then a row per interval, a column per sensor."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError

__all__ = ["WideTable", "read_wide_csv"]

_MISSING = frozenset({"", "nan", "na", "null", "none"})


@dataclass(frozen=True)
class WideTable:
    """``values`` float64[rows, sensors], NaN where the cell is empty."""

    sensors: list[str]
    values: NDArray[np.float64]


def read_wide_csv(path: Path) -> WideTable:
    """Return the table in ``path``; raise ConfigurationError naming line, column and remedy."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            sensors = _header(path, next(rows, None))
            values = [_numbers(path, rows.line_num, row, sensors) for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: cannot be read as a CSV file: {error}") from error
    return WideTable(sensors, np.array(values, np.float64).reshape(-1, len(sensors)))


def _header(path: Path, row: list[str] | None) -> list[str]:
    if not row:
        raise ConfigurationError(f"{path}: is empty; expected a header row of sensor ids")
    sensors = [name.strip() for name in row]
    for column, name in enumerate(sensors):
        if name in sensors[:column]:
            raise ConfigurationError(
                f"{path}, line 1, column {column + 1}: sensor {name!r} appears twice; "
                "every column needs an id of its own in the header row"
            )
    return sensors


def _numbers(path: Path, line: int, row: list[str], sensors: list[str]) -> list[float]:
    if len(row) != len(sensors):
        raise ConfigurationError(
            f"{path}, line {line}: {len(row)} cells, but the header names {len(sensors)} sensors; "
            "leave the cell of a missing value empty"
        )
    try:
        values = [float(cell or "nan") for cell in row]
    except ValueError:
        values = list(_cells(path, line, row, sensors))
    for column, value in enumerate(values):
        if math.isinf(value):
            raise _not_a_number(path, line, row, sensors, column)
    return values


def _cells(path: Path, line: int, row: list[str], sensors: list[str]) -> Iterator[float]:
    for column, cell in enumerate(row):
        try:
            yield math.nan if cell.strip().lower() in _MISSING else float(cell)
        except ValueError:
            raise _not_a_number(path, line, row, sensors, column) from None


def _not_a_number(
    path: Path, line: int, row: list[str], sensors: list[str], column: int
) -> ConfigurationError:
    return ConfigurationError(
        f"{path}, line {line}, column {column + 1} (sensor {sensors[column]!r}): "
        f"{row[column]!r} is not a number; write a number, or leave the cell empty for a missing "
        "value (a column of timestamps must be taken out)"
    )
