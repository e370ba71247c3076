"""What is usual at each detector at this time of day: learned speeds and flows by half hour.

Two kinds of day, each of 48 half hours of the city's local time. A bin is the running mean over
days of that half hour's mean; windows with an incident nearby are left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from civicstream.local_time import DAY_MS, LocalOffset, is_weekend, local_offset

__all__ = ["UsualTraffic"]

Floats = NDArray[np.float64]

BIN_MS = 30 * 60_000
_BINS = 48
_REMEMBERED = 10
"""Days that the mean remembers: a change of habits is learned within two working weeks."""
_BELIEVED = 3
"""Days before a mean counts: one or two may have been the unusual ones."""
_ENOUGH = 5
"""Windows that make a half hour."""


class UsualTraffic:
    """``bins`` float32[kinds of day, bins, speed and flow, n]; NaN: not seen yet."""

    def __init__(self, n: int, local: LocalOffset = local_offset("UTC")) -> None:
        self._local = local
        self.bins = np.full((2, _BINS, 2, n), np.nan, np.float32)
        self.days = np.zeros((2, _BINS, n), np.uint8)
        self.sums = np.zeros((4, n), np.float32)
        """Of the current half hour: speed and how many, flow and how many."""
        self.current = -1
        """Number of the current half hour since 1970."""
        self._changed: set[tuple[int, int]] = set()

    def at(self, ts_ms: int) -> tuple[Floats, Floats]:
        """Return the usual speed [km/h] and flow [veh/h] of all segments, NaN if unknown."""
        kind, number = self._place(ts_ms // BIN_MS)
        seen = self.days[kind, number] >= _BELIEVED
        speed, flow = np.where(seen, self.bins[kind, number], np.nan).astype(np.float64)
        return speed, flow

    def _place(self, half_hour: int) -> tuple[int, int]:
        start = half_hour * BIN_MS
        local = start + self._local(start)
        return int(is_weekend(local)), local % DAY_MS // BIN_MS

    def learn(self, start: int, speed: Floats, flow: Floats, taken: NDArray[np.bool_]) -> None:
        """Take in a window that began at ``start``, from the segments ``taken`` [n]."""
        half_hour = start // BIN_MS
        if half_hour > self.current:
            self._fold()
            self.current = half_hour
        for row, values in ((0, speed), (2, flow)):
            known = taken & ~np.isnan(values)
            self.sums[row, known] += values[known]
            self.sums[row + 1, known] += 1

    def _fold(self) -> None:
        """Take the half hour that is over into the mean over days."""
        if self.current >= 0:
            kind, number = self._place(self.current)
            enough = self.sums[3] >= _ENOUGH
            days = self.days[kind, number]
            weight = 1 / (np.minimum(days, _REMEMBERED - 1) + 1.0)
            for row in (0, 1):
                known = enough & (self.sums[2 * row + 1] > 0)
                old, total = self.bins[kind, number, row], self.sums[2 * row]
                mean = total[known] / self.sums[2 * row + 1, known]
                start = np.where(np.isnan(old[known]), mean, old[known])
                # As precise as it is dumped: who goes on and who comes back have the same.
                old[known] = (start + weight[known] * (mean - start)).astype(np.float16)
            days[enough] = np.minimum(days[enough] + 1, _REMEMBERED)
            if enough.any():
                self._changed.add((kind, number))
        self.sums[:] = 0

    def dump(self) -> dict[str, bytes]:
        """Return the bins that changed since the last call, by name: 5 bytes per segment each."""
        dumped = {}
        for kind, number in sorted(self._changed):
            means = self.bins[kind, number].astype(np.float16)
            dumped[f"{kind}/{number}"] = means.tobytes() + self.days[kind, number].tobytes()
        self._changed.clear()
        return dumped

    def restore(self, dumped: dict[str, bytes]) -> None:
        """Take dumped bins back; ValueError where they are of another number of segments."""
        n = self.bins.shape[-1]
        for name, content in dumped.items():
            if len(content) != 5 * n:
                raise ValueError(
                    f"usual traffic {name!r} has {len(content)} bytes, but {n} segments need "
                    f"{5 * n}; the city model changed: begin without it"
                )
            kind, number = (int(part) for part in name.split("/"))
            means = np.frombuffer(content[: 4 * n], np.float16).reshape(2, n)
            self.bins[kind, number] = means
            self.days[kind, number] = np.frombuffer(content[4 * n :], np.uint8)
