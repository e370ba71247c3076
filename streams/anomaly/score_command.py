"""``civicstream score``: the anomaly score of every row of a recorded series, without a server."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import msgspec
import numpy as np

from streams.anomaly.detector import AnomalyDetector
from streams.anomaly.recorded import Row, read_rows

__all__ = ["Summary", "score", "score_rows"]

_SHOWN = 10


@dataclass
class Summary:
    """What became of the rows: ``scored``, without a value (``missing``), or ``rejected``."""

    scored: int = 0
    missing: int = 0
    rejected: int = 0


def score_rows(rows: Iterable[Row]) -> Iterator[tuple[Row, float]]:
    """Yield each row with its score 0..1, from the rows before it; NaN where there is none."""
    detector = AnomalyDetector(1)
    only = np.zeros(1, np.intp)
    at_ms, value = np.zeros(1, np.int64), np.zeros(1)
    for row in rows:
        if row.problem:
            yield row, math.nan
        else:
            at_ms[0], value[0] = row.at_ms, row.value
            yield row, float(detector.update(only, at_ms, value).score[0])


def score(
    path: Path,
    *,
    timestamp_column: str,
    value_column: str,
    json_lines: bool,
    out: TextIO,
    errors: TextIO,
) -> Summary:
    """Score a CSV file in its order and in constant memory; return what became of its rows.

    Writes to ``out`` one JSON line per row, or else the ten most unusual rows; to ``errors``
    one line for each rejected row. ConfigurationError for a file that cannot be used at all.
    """
    summary = Summary()
    highest: list[tuple[float, int, str, float]] = []
    rows = read_rows(path, timestamp_column=timestamp_column, value_column=value_column)
    for row, found in score_rows(rows):
        if row.problem:
            summary.rejected += 1
            errors.write(f"{path}:{row.line}: {row.problem}; the row is not scored\n")
        elif math.isnan(found):
            summary.missing += 1
        else:
            summary.scored += 1
        if json_lines:
            out.write(_json_line(row, found))
        elif found > 0:
            heapq.heappush(highest, (found, -row.line, row.timestamp, row.value))
            if len(highest) > _SHOWN:
                heapq.heappop(highest)
    if not json_lines:
        _show(highest, out)
    errors.write(
        f"{path}: {summary.scored} rows scored, {summary.missing} without a value, "
        f"{summary.rejected} rejected\n"
    )
    return summary


def _json_line(row: Row, found: float) -> str:
    line = {
        "timestamp": row.timestamp,
        "value": None if math.isnan(row.value) else row.value,
        "anomaly_score": None if math.isnan(found) else round(found, 9),
    }
    return msgspec.json.encode(line).decode() + "\n"


def _show(highest: list[tuple[float, int, str, float]], out: TextIO) -> None:
    out.write("score   line  timestamp            value\n")
    out.writelines(
        f"{found:.3f} {-line:6d}  {timestamp:20} {value:g}\n"
        for found, line, timestamp, value in sorted(highest, reverse=True)
    )
