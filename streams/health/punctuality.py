"""Silent and skewed: when readings come, and what their time stamps are worth.

*Silent.* No reading in time for ten of the sensor's usual intervals. Windows in which most of the
partition is missing do not count: then it is a gateway or a network, not a thousand sensors.

*Skewed.* The delay from ``ts`` to arrival, against the usual delay of the partition at that event
time (a line through two medians: a replay at another speed has a slope). Transport and batching
only ever add delay, so the sensor's smallest recent delay tells its clock, as in NTP (Mills 1991).
A steady offset is a clock; an unsteady one is a slow network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.health.ordered import OrderedReadings
from streams.health.sensor_table import Column, SensorTable

__all__ = [
    "COLUMNS",
    "SKEWED",
    "LateArrivals",
    "judge_clocks",
    "judge_silence",
    "silence_limit_ms",
]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

COLUMNS = (
    Column("seen_at", "i8"),
    Column("missed_ms", "u4"),
    Column("late_at", "i8"),
    Column("offset_s", "f4", np.nan),
    Column("skewed", "i1"),
    Column("interval_s", "f4", slow=True),
    Column("intervals", "f4", slow=True),
)
"""``seen_at``: ``ts`` of the last reading in time [ms]; ``late_at``: end of the last window by
which late ones had come; ``offset_s``: least recent delay against the others."""

SKEWED = 4
_MOST_SKEWED = 10
"""Windows with an offset that convict, and that are remembered at most."""

_TOLERANCE_S = 10.0
"""Clocks that are set by the network now and then are seconds off; a minute's window and the
gateway's tolerance of 30 s are hurt by more than this."""

_RISE, _RISE_S = 0.7, 10.0
"""How fast the least delay forgets one that was smaller: by seven tenths, at least 10 s."""

_SILENT_INTERVALS = 10
_LEAST_SILENCE_MS = 300_000
_MEMORY_INTERVALS = 50.0
_LONGEST_MS = 2**31
_FLEET = 5
_PRESENT_SHARE = 0.5


@dataclass(frozen=True)
class LateArrivals:
    """Late readings of sensors in the table; arrays of equal length."""

    row: Rows
    ts: NDArray[np.int64]
    ingested_at: NDArray[np.int64]


def silence_limit_ms(table: SensorTable) -> Floats:
    """Return [n] for how long each sensor may be missing."""
    usual = _SILENT_INTERVALS * 1000 * table["interval_s"].astype(np.float64)
    return np.maximum(usual, _LEAST_SILENCE_MS)


def judge_silence(
    table: SensorTable, readings: OrderedReadings, window_ms: int, speaking: NDArray[np.bool_]
) -> None:
    """Renew ``seen_at``, the intervals and ``missed_ms``; ``speaking`` [n]: not silent so far."""
    if not len(readings):
        return
    rows = readings.rows
    present = np.zeros(len(table), np.bool_)
    present[rows] = True
    interval_ms = 1000 * table["interval_s"].astype(np.float64)
    chance = np.minimum(window_ms / np.maximum(interval_ms, 1), 1.0)
    chance = np.where(speaking, chance, 0.0)
    # Quarters are exact in binary: the sum is the same in any order of the sensors.
    expected = float(np.round(chance * 4).sum()) / 4
    arrived = int(np.count_nonzero(present & speaking))
    if arrived >= _PRESENT_SHARE * expected:
        # Windows without any reading are not observed: where all sensors report at once every
        # five minutes, each window stands for five. One after an outage stands for no more than
        # an interval: nobody could report meanwhile.
        passed = max(int(readings.ts.max()) - int(table["seen_at"].max()), window_ms)
        missed = table["missed_ms"] + np.minimum(passed, np.maximum(interval_ms, window_ms))
        table["missed_ms"][:] = np.minimum(missed, _LONGEST_MS)
    table["missed_ms"][rows] = 0
    _learn_intervals(table, readings)
    table["seen_at"][rows] = np.maximum(table["seen_at"][rows], readings.ts[readings.last])


def _learn_intervals(table: SensorTable, readings: OrderedReadings) -> None:
    rows = readings.rows
    before = table["seen_at"][rows]
    span_s = (readings.ts[readings.last] - before) / 1000
    interval, n = table["interval_s"][rows].astype(np.float64), table["intervals"][rows]
    measured = span_s / readings.counts
    # An outage is not an interval; a declared one that is wrong is outweighed all the same.
    measured = np.where(n < _FLEET, measured, np.clip(measured, interval / 2, interval * 2))
    total = np.minimum(n + 1, _MEMORY_INTERVALS)
    learned = np.where(before > 0, interval + (measured - interval) / total, interval)
    table["interval_s"][rows] = learned
    table["intervals"][rows] = np.where(before > 0, total, n)


def judge_clocks(
    table: SensorTable, readings: OrderedReadings, late: LateArrivals, window_end: int
) -> None:
    """Add one window's evidence on the sensors' clocks."""
    table["late_at"][late.row] = window_end
    if len(readings.rows) < _FLEET:
        return
    delay = (readings.ingested_at - readings.ts) / 1000
    line = _UsualDelay(readings.ts, delay)
    least = np.full(len(table), np.inf)
    least[readings.rows] = np.minimum.reduceat(delay - line(readings.ts), readings.first)
    np.minimum.at(least, late.row, (late.ingested_at - late.ts) / 1000 - line(late.ts))
    rows = np.flatnonzero(np.isfinite(least))
    now, before = least[rows], table["offset_s"][rows].astype(np.float64)
    rise = np.minimum(now - before, np.maximum(_RISE_S, _RISE * (now - before)))
    offset = np.where(np.isnan(before) | (now < before), now, before + rise)
    table["offset_s"][rows] = offset
    spread = 1.4826 * float(np.median(np.abs(offset - np.median(offset))))
    tolerated = max(_TOLERANCE_S, 4 * spread)
    steady = np.abs(now - offset) <= _TOLERANCE_S + 0.2 * np.abs(offset)
    wrong = (np.abs(offset) > tolerated) & steady
    evidence = table["skewed"][rows] + np.where(wrong, 1, -1)
    table["skewed"][rows] = np.clip(evidence, 0, _MOST_SKEWED)


class _UsualDelay:
    """The partition's delay [s] at an event time: a line through the medians of two halves."""

    def __init__(self, ts: NDArray[np.int64], delay: Floats) -> None:
        middle = (int(ts.min()) + int(ts.max())) // 2
        early, late = ts <= middle, ts > middle
        self._at = float(np.median(ts[early]))
        self._delay = float(np.median(delay[early]))
        self._slope = 0.0
        if late.sum() >= _FLEET and early.sum() >= _FLEET:
            apart = float(np.median(ts[late])) - self._at
            slope = (float(np.median(delay[late])) - self._delay) / apart
            # Below that it is noise, which extrapolation to late readings would multiply.
            self._slope = slope if abs(slope) > 5e-5 else 0.0

    def __call__(self, ts: NDArray[np.int64]) -> Floats:
        return np.asarray(self._delay + self._slope * (ts - self._at), np.float64)
