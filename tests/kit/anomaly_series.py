"""Series for the anomaly tests: a sensor's working day every ten minutes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.anomaly import AnomalyDetector, Scores

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MONDAY_MS = int(np.datetime64("2024-03-04", "ms").astype(np.int64))
STEP_MS = 10 * MINUTE_MS
ROWS_A_DAY = DAY_MS // STEP_MS

Floats = NDArray[np.float64]
Times = NDArray[np.int64]


def row(day: int, hour: float) -> int:
    """Return the row of an hour of a day, both counted from 0."""
    return int(day * ROWS_A_DAY + hour * ROWS_A_DAY / 24)


def times(days: float) -> Times:
    """Return times every ten minutes from a Monday's midnight."""
    return MONDAY_MS + np.arange(int(days * ROWS_A_DAY)) * STEP_MS


def speeds(at_ms: Times, seed: int = 0, *, dip: float = 30.0, noise: float = 3.0) -> Floats:
    """Return speeds [km/h] around 90 that fall by ``dip`` at eight on working days."""
    rng = np.random.default_rng(seed)
    hour = at_ms % DAY_MS / HOUR_MS
    working = (at_ms - MONDAY_MS) // DAY_MS % 7 < 5
    rush = np.exp(-0.5 * (hour - 8) ** 2) * working
    return np.asarray(90 - dip * rush + rng.normal(0, noise, len(at_ms)))


def feed(detector: AnomalyDetector, at_ms: Times, values: Floats) -> Scores:
    """Let one series pass through row 0 of ``detector``; return all its scores."""
    found = [detector.update(np.zeros(1, np.intp), at_ms[i : i + 1], values[i : i + 1])
             for i in range(len(at_ms))]  # fmt: skip
    return Scores(
        **{
            name: np.concatenate([getattr(s, name) for s in found])
            for name in ("score", "expected", "low", "high")
        }
    )
