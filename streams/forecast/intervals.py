"""80 % intervals calibrated online on the forecasts' own errors.

Quantile tracking as in adaptive conformal inference (Gibbs and Candès 2021): a bound that was
passed too often moves outwards by a fixed share of the usual error, else inwards. Bounds are
tracked per state of traffic (level and unrest) over all series, because a jam is far less
certain than a free road; each series has a factor on top, because some sensors are noisier.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Intervals"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

_TAIL = 0.1  # on either side of an 80 % interval
_MOVE = 0.2
_FEWEST = 5.0  # forecasts in a state for a full move: fewer move the bound by their share
_FACTOR_MOVE = 0.02
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

    def learn(self, targets: NDArray[np.intp], cell: NDArray[np.intp], error: Floats32) -> None:
        """Take in errors (what happened - forecast): ``error`` [m, n], NaN where unknown.

        Row r is of target ``targets[r]``, from states ``cell`` [m, n].
        """
        row, series = np.nonzero(~np.isnan(error))
        at, error = (cell[row, series], targets[row]), error[row, series]
        factor = self.factor[series, at[1]]
        below = error < self.low[at] * factor
        above = error > self.high[at] * factor
        flat = np.ravel_multi_index(at, self.low.shape)

        def total(weights: NDArray[Any] | None = None) -> Floats:
            sums = np.bincount(flat, weights, self.low.size).astype(np.float64)
            return sums.reshape(self.low.shape)

        count = total()
        share = np.minimum(count / _FEWEST, 1.0)
        divisor = np.maximum(count, 1)
        mean = total(np.abs(error) / factor) / divisor
        self.size += np.where(self.size == 0, 1.0, _MOVE) * share * (mean - self.size)
        # A move in proportion to the share outside is quick at the start, when everything is.
        step = _MOVE * self.size * share
        self.low -= step * (total(below) / divisor - _TAIL)
        self.high += step * (total(above) / divisor - _TAIL)
        moved = factor * np.exp(_FACTOR_MOVE * ((below | above) - 2 * _TAIL))
        self.factor[series, at[1]] = np.clip(moved, *_FACTOR_LIMITS)
