"""80 % intervals calibrated online on the forecasts' own errors.

Quantile tracking as in adaptive conformal inference (Gibbs and Candès 2021): a bound that was
passed too often moves outwards by a fixed share of the usual error, else inwards. Bounds are
tracked per state of traffic (level and unrest) over all series, because a jam is far less
certain than a free road; each series has a factor on top, because some sensors are noisier.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Intervals"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

_TAIL = 0.1  # on either side of an 80 % interval
_MOVE = 0.05
_FEWEST = 20.0  # forecasts in a state for a full move: fewer move the bound by their share
_FACTOR_MOVE = 0.01
_FACTOR_LIMITS = (0.25, 4.0)


class Intervals:
    """``low`` and ``high`` [cells, targets]: the errors' 10 % and 90 % points, relative values."""

    def __init__(self, n: int, cells: int, targets: int) -> None:
        self.low = np.zeros((cells, targets))
        self.high = np.zeros((cells, targets))
        self.size = np.zeros((cells, targets))
        """Tracked mean absolute error."""
        self.factor = np.ones((n, targets))

    def around(self, cell: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return the bounds of the error for series in states ``cell`` [n]: [n, targets] each."""
        return self.low[cell] * self.factor, self.high[cell] * self.factor

    def learn(
        self, target: int, series: NDArray[np.intp], cell: NDArray[np.intp], error: Floats32
    ) -> None:
        """Take in errors (what happened - forecast) of ``series``, all arrays [m]."""
        cells = len(self.low)
        factor = self.factor[series, target]
        below = error < self.low[cell, target] * factor
        above = error > self.high[cell, target] * factor
        count = np.bincount(cell, minlength=cells)
        divisor = np.maximum(count, 1)
        weight = np.minimum(count / _FEWEST, 1.0)
        mean = np.bincount(cell, np.abs(error) / factor, cells) / divisor
        size = self.size[:, target]
        size += np.where(size == 0, 1.0, _MOVE) * weight * (mean - size) * (count > 0)
        # A move in proportion to the tail is quick where everything is outside, at the start.
        step = _MOVE * size * weight
        self.low[:, target] -= step * (np.bincount(cell, below, cells) / divisor - _TAIL)
        self.high[:, target] += step * (np.bincount(cell, above, cells) / divisor - _TAIL)
        missed = (below | above) - 2 * _TAIL
        self.factor[series, target] = np.clip(
            factor * np.exp(_FACTOR_MOVE * missed), *_FACTOR_LIMITS
        )
