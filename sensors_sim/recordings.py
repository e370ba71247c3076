"""Recorded series from CSV: wide (a column per sensor) or long (``timestamp,value``)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS, Measure

__all__ = ["UNITS", "Recording", "convert", "find_measure", "read_recording", "rows_of"]

Floats = NDArray[np.float64]

UNITS = {
    "mph": ("km/h", 1.609344, 0.0),
    "m/s": ("km/h", 3.6, 0.0),
    "percent": ("fraction", 0.01, 0.0),
    "fahrenheit": ("°C", 5 / 9, -32 * 5 / 9),
    "ppb": ("µg/m³", 1.9125, 0.0),  # NO2 at 20 °C and 1013 hPa
}
"""Unit of a file -> the contract's unit, factor and offset to it."""


@dataclass(frozen=True)
class Recording:
    """``values`` float64[rows, sensors], NaN where there is none; ``ts`` int64[rows] epoch ms."""

    sensors: list[str]
    ts: NDArray[np.int64]
    values: Floats
    interval_s: float

    def rows(self, first: int, last: int | None) -> Recording:
        """Return rows first..last (as in a slice)."""
        ts, values = self.ts[first:last], self.values[first:last]
        if not len(ts):
            raise ConfigurationError(
                f"rows {first}:{last}: the recording has {len(self.ts)} rows, none of them there"
            )
        return replace(self, ts=ts, values=values)

    def shifted(self, by_ms: int) -> Recording:
        return replace(self, ts=self.ts + by_ms)

    def with_values(self, values: Floats) -> Recording:
        return replace(self, values=values)


def read_recording(
    path: Path, *, start_ms: int | None, interval_s: float | None, timezone: str
) -> Recording:
    """Return the series in a CSV file with a header row; raise ConfigurationError if it is none.

    Long: the columns are ``timestamp`` and ``value``, the sensor is named after the file, times
    without offset are in ``timezone``. Wide: every column is a sensor named by its header, row r
    was taken at ``start_ms`` + r * ``interval_s`` (default 300 s).
    """
    try:
        table = pv.read_csv(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{path}: not a CSV file with a header: {error}") from error
    if not table.num_rows:
        raise ConfigurationError(f"{path}: no rows below the header")
    if table.column_names == ["timestamp", "value"]:
        return _long(path, table, interval_s, timezone)
    return _wide(path, table, interval_s or 300.0, start_ms)


def _numbers(path: Path, name: str, column: pa.ChunkedArray) -> Floats:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ConfigurationError(f"{path}: column {name!r} holds {column.type}, not numbers")
    numbers: Floats = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
    return numbers


def _wide(path: Path, table: pa.Table, interval_s: float, start_ms: int | None) -> Recording:
    if start_ms is None:
        raise ConfigurationError(
            f"{path} has no times; say with --start when its first row was taken, "
            "like 2012-03-01T00:00:00-08:00"
        )
    names = list(table.column_names)
    columns = [_numbers(path, n, c) for n, c in zip(names, table.columns, strict=True)]
    ts = start_ms + np.round(np.arange(table.num_rows) * interval_s * 1000).astype(np.int64)
    return Recording(names, ts, np.stack(columns, axis=1), interval_s)


def _long(path: Path, table: pa.Table, interval_s: float | None, timezone: str) -> Recording:
    times = table["timestamp"]
    if not pa.types.is_timestamp(times.type):
        raise ConfigurationError(f"{path}: its timestamps are not like 2015-09-01 13:45:00")
    if times.type.tz is None:
        try:
            ZoneInfo(timezone)
            # The hour that the end of summer time repeats is taken as its first pass.
            times = pc.assume_timezone(times, timezone, ambiguous="earliest", nonexistent="latest")
        except (KeyError, ValueError, OSError) as error:
            raise ConfigurationError(f"--timezone {timezone!r}: no such time zone") from error
    ts = times.cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
    order = np.argsort(ts, kind="stable")
    gap_s = float(np.median(np.diff(ts[order]))) / 1000 if len(ts) > 1 else 300.0
    values = _numbers(path, "value", table["value"])
    return Recording([path.stem], ts[order], values[order][:, None], interval_s or gap_s)


def rows_of(text: str) -> tuple[int, int | None]:
    """Return first and last row (exclusive) of ``a:b``, either of which may be left out."""
    found = re.fullmatch(r"(\d*):(\d*)", text)
    if not found:
        raise ConfigurationError(
            f"--rows {text!r}: give it as first:last, like 0:24 for the first 24 rows"
        )
    return int(found[1] or 0), int(found[2]) if found[2] else None


def find_measure(kind: str, measure: str) -> Measure:
    """Return the declared measure; raise ConfigurationError naming the ones there are."""
    if kind not in KINDS:
        raise ConfigurationError(f"--kind {kind!r}: no such kind; there are {', '.join(KINDS)}")
    for candidate in KINDS[kind].measures:
        if candidate.name == measure:
            return candidate
    raise ConfigurationError(
        f"--measure {measure!r}: kind {kind} has {', '.join(KINDS[kind].measure_names)}"
    )


def convert(values: Floats, unit: str | None, measure: Measure) -> Floats:
    """Return ``values`` in the measure's own unit; None means they are in it already."""
    if unit is None or unit == measure.unit:
        return values
    if unit not in UNITS:
        raise ConfigurationError(f"--unit {unit!r}: can convert from {', '.join(UNITS)}")
    target, factor, offset = UNITS[unit]
    if not measure.unit.startswith(target):
        raise ConfigurationError(
            f"--unit {unit}: converts to {target}, but {measure.name} is in {measure.unit}"
        )
    return values * factor + offset
