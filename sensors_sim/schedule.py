"""When each sensor reports: every interval, from a phase of its own, without drift."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError

__all__ = ["Schedule", "interval_scale"]

SHORTEST_INTERVAL_S = 0.1
"""The shortest period the contract allows a traffic detector to report over."""


def interval_scale(interval_s: NDArray[np.float64], rate: float | None, speed: float) -> float:
    """Return the factor on all intervals that makes the city publish ``rate`` readings/s.

    ``rate`` counts on the wall clock, so with event time running ``speed`` times as fast each
    sensor's interval is that much longer. None keeps the intervals of the city model. Raises
    ConfigurationError when some sensor would have to report faster than every 0.1 s.
    """
    if rate is None:
        return 1.0
    natural = float(np.sum(1 / interval_s))
    scale = natural * speed / rate
    shortest = float(interval_s.min()) * scale
    if shortest < SHORTEST_INTERVAL_S:
        most = natural * speed * interval_s.min() / SHORTEST_INTERVAL_S
        raise ConfigurationError(
            f"--rate {rate:g}: {len(interval_s)} sensors would have to report every "
            f"{shortest * 1000:.3g} ms; with so many sensors the rate can be {most:.0f} at most"
        )
    return scale


class Schedule:
    """The report times of some sensors with one interval.

    A message of ``batch`` readings comes every ``batch`` intervals and holds one reading per
    interval. All times are whole milliseconds after ``start_ms``, each sensor's distinct.
    """

    def __init__(
        self,
        sensors: NDArray[np.intp],
        interval_s: float,
        start_ms: int,
        batch: int,
        rng: np.random.Generator,
    ) -> None:
        self.interval_ms = interval_s * 1000
        self._every = self.interval_ms * batch
        self._start = start_ms
        # Evenly spaced phases in random order: the rate is the same in every stretch of time.
        self._sensors = rng.permutation(sensors)
        self._phase = (np.arange(len(sensors)) + rng.random(len(sensors))) / max(len(sensors), 1)
        self._phase *= self._every
        self._back = np.arange(batch - 1, -1, -1) * self.interval_ms

    def due(self, begin_ms: int, end_ms: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Return sensors [n] and reading times [n, batch] of messages due in begin..end."""
        begin, end = begin_ms - self._start, end_ms - self._start
        sensors, times = [], []
        for k in range(math.floor(begin / self._every) - 1, math.floor(end / self._every) + 1):
            if k < 0:
                continue
            offset = k * self._every
            first, last = np.searchsorted(self._phase, [begin - offset, end - offset])
            sensors.append(self._sensors[first:last])
            times.append(offset + self._phase[first:last])
        if not sensors:
            return np.zeros(0, np.intp), np.zeros((0, len(self._back)), np.int64)
        at = np.concatenate(times)[:, None] - self._back
        return np.concatenate(sensors), np.floor(at).astype(np.int64) + self._start
