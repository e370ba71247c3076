"""Recorded labelled series: every ``nab_*.csv`` of a folder that ``nab_windows.json`` labels."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from benchmarks.nab_simulation import LabelledSeries
from civicstream.errors import ConfigurationError
from streams.anomaly.recorded import read_rows

__all__ = ["RECORDED", "load_recorded"]

RECORDED = Path(__file__).parents[2] / "shared" / "data"
"""Where recorded data lies beside a checkout; nothing of it is part of the project."""
_LABELS = "nab_windows.json"


def load_recorded(folder: Path) -> list[LabelledSeries]:
    """Return the labelled series of ``folder``, none when it has no labels.

    ConfigurationError for labels without their file, or a file with a row that cannot be read.
    """
    labels = folder / _LABELS
    if not labels.is_file():
        return []
    windows = msgspec.json.decode(labels.read_bytes(), type=dict[str, list[tuple[str, str]]])
    return [_load(folder / name, spans) for name, spans in sorted(windows.items())]


def _load(path: Path, spans: list[tuple[str, str]]) -> LabelledSeries:
    rows = list(read_rows(path, timestamp_column="timestamp", value_column="value"))
    bad = next((row for row in rows if row.problem), None)
    if bad is not None:
        raise ConfigurationError(f"{path}:{bad.line}: {bad.problem}")
    times = np.array([row.at_ms for row in rows], "M8[ms]")
    values = np.array([row.value for row in rows])
    windows = tuple((np.datetime64(a, "ms"), np.datetime64(b, "ms")) for a, b in spans)
    return LabelledSeries(path.name, times, values, windows)
