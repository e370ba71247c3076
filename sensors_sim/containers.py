"""How full the simulated waste containers are, where trucks empty them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Containers", "fill_days"]

Floats = NDArray[np.float64]

_DAY_MS = 86_400_000.0
_LEFT_OVER = 0.01
"""What stays in a container that was emptied."""


def fill_days(traits: Floats) -> Floats:
    """Return the days [n] in which containers with these traits [4, n] fill."""
    days: Floats = 2 + 8 * traits[0]
    return days


class Containers:
    """Each fills evenly, by its own pace, until it is emptied; full, it overflows and stays full.

    Not locked: levels are read by one thread, and one container is emptied by one assignment.
    """

    def __init__(self, traits: Floats, start_ms: int) -> None:
        """``traits`` [4, n] of all sensors of the city, as for the channels."""
        self._days = fill_days(traits)
        self._phase = traits[1]
        self._fills = self._filled(np.arange(traits.shape[1]), start_ms)
        self._fills -= self._fills % 1

    def _filled(self, sensor: NDArray[np.intp], ts: NDArray[np.int64] | int) -> Floats:
        """Return how often each would have been filled until then."""
        filled: Floats = ts / _DAY_MS / self._days[sensor] + self._phase[sensor]
        return filled

    def levels(self, sensor: NDArray[np.intp], ts: NDArray[np.int64]) -> Floats:
        """Return the filled shares 0..1 of sensors (indices) at their times [ms]."""
        level: Floats = np.clip(self._filled(sensor, ts) - self._fills[sensor], 0.0, 1.0)
        return level

    def empty(self, sensor: int, at_ms: int) -> float:
        """Empty one; return what was in it, as a share."""
        one = np.array([sensor])
        was = float(self.levels(one, np.array([at_ms]))[0])
        self._fills[sensor] = self._filled(one, at_ms)[0] - _LEFT_OVER
        return was
