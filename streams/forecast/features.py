"""What the model sees of a series: its recent course, what is usual, and its neighbours.

Everything is divided by the series' scale, so that one model fits all of them. The effect of
each input depends smoothly on four measures of the state: a functional-coefficient model (Cai,
Fan and Yao 2000) with piecewise linear coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["INPUTS", "REGIMES", "Features", "build_features"]

Floats32 = NDArray[np.float32]

INPUTS = 21
_LEVEL_KNOTS = (0.3, 0.55, 0.8, 0.95, 1.05)
"""Of the value over its scale: standing, congested, slow, free, above."""
_UNREST_KNOTS = (0.015, 0.05, 0.1, 0.2)
"""Of the root mean square difference from the last hour."""
_DEVIATION_KNOTS = (-0.3, -0.15, 0.0, 0.1)
"""Of the deviation from what is usual."""
_JUMP_KNOTS = (0.0, 0.02, 0.05, 0.1)
"""Of the root mean square change per step within the last half hour."""
_FURTHER_KNOTS = (_UNREST_KNOTS, _DEVIATION_KNOTS, _JUMP_KNOTS)
REGIMES = len(_LEVEL_KNOTS) + sum(len(knots) - 1 for knots in _FURTHER_KNOTS)

# A sensor that jumps to a hundred times its usual value must not bend the model of all others.
_LARGEST = 3.0


@dataclass(frozen=True)
class Features:
    """Of n series at one step; relative values."""

    inputs: Floats32
    """[n, INPUTS]; the first is 1."""
    regimes: Floats32
    """[n, REGIMES]: how far each state holds, 0..1."""
    cell: NDArray[np.intp]
    """[n]: the nearest level and unrest as one number below ``CELLS``."""
    around: Floats32
    """[n, k]: the neighbours' deviations from what is usual."""

    def take(self, chosen: slice) -> Features:
        """Return the features of the ``chosen`` series."""
        return Features(
            self.inputs[chosen], self.regimes[chosen], self.cell[chosen], self.around[chosen]
        )

    def design(self) -> Floats32:
        """Return all products of a regime and an input: float32[n, REGIMES * INPUTS]."""
        product = self.regimes[:, :, None] * self.inputs[:, None, :]
        return product.reshape(len(self.inputs), REGIMES * INPUTS)

    def own(self) -> Floats32:
        """Return the inputs from which a series' own peculiarity is learned: [n, OWN + k].

        The last k are its neighbours, each with a weight of its own.
        """
        levels = self.regimes[:, : len(_LEVEL_KNOTS)]
        return np.hstack([levels, self.inputs[:, _OWN_INPUTS], self.around])


_OWN_INPUTS = [1, 5, 14, 17]  # deviation, against the half hour, usual change, neighbours' level
OWN = len(_LEVEL_KNOTS) + len(_OWN_INPUTS)
CELLS = len(_LEVEL_KNOTS) * len(_UNREST_KNOTS)


def build_features(
    lags: Floats32,
    usual: Floats32,
    long: Floats32,
    level: Floats32,
    scale: Floats32,
    neighbours: NDArray[np.intp],
) -> Features:
    """Return the features of n series.

    ``lags`` [13, n] newest first, ``usual`` [5, n] now and at quarters of the reach, ``long``,
    ``level`` and ``scale`` [n] as in ``RecentValues``, ``neighbours`` [n, k]. A series that was
    never seen (NaN) becomes zeros.
    """
    past = np.nan_to_num(lags / scale)
    course = np.nan_to_num(usual / scale)
    now = past[0]
    deviation = now - course[0]
    to_hour = now - past
    unrest = np.sqrt(np.mean(to_hour[:12] ** 2, axis=0))
    jumps = np.sqrt(np.mean(np.diff(past[:7], axis=0) ** 2, axis=0))
    quarter = past[0] - past[3]
    to_neighbours = now[neighbours] - now[:, None]
    around = np.clip(deviation[neighbours], -_LARGEST, _LARGEST)
    columns = [
        np.ones_like(now),
        deviation,
        now - past[1],
        past[1] - past[2],
        *(to_hour[:span].mean(axis=0) for span in (3, 6, 12)),
        now - np.nan_to_num(long / scale),
        now - np.nan_to_num(level / scale),
        unrest,
        jumps,
        *(course[1:] - course[0]),
        around.mean(axis=1),
        quarter[neighbours].mean(axis=1),
        to_neighbours.mean(axis=1),
        to_neighbours.min(axis=1),
        *(change[neighbours].mean(axis=1) for change in course[[2, 4]] - course[0]),
    ]
    inputs = np.clip(np.stack(columns, axis=1), -_LARGEST, _LARGEST).astype(np.float32)
    levels, unrests = _hats(now, _LEVEL_KNOTS), _hats(unrest, _UNREST_KNOTS)
    # The commonest hat of each further measure is left out: the hats of a measure sum to 1.
    deviations = np.delete(_hats(deviation, _DEVIATION_KNOTS), 2, axis=1)
    jumping = _hats(jumps, _JUMP_KNOTS)[:, 1:]
    cell = levels.argmax(axis=1) * len(_UNREST_KNOTS) + unrests.argmax(axis=1)
    return Features(inputs, np.hstack([levels, unrests[:, 1:], deviations, jumping]), cell, around)


def _hats(values: Floats32, knots: tuple[float, ...]) -> Floats32:
    """Return the hat functions of ``knots`` at ``values`` [n], flat beyond the ends: [n, k]."""
    at = np.array(knots, np.float32)
    inside = np.clip(values, at[0], at[-1])[:, None]
    hats = np.ones((len(values), len(at)), np.float32)
    rising = (inside - at[:-1]) / np.diff(at)
    hats[:, 1:] = rising
    hats[:, :-1] = np.minimum(hats[:, :-1], 1 - rising)
    clipped: Floats32 = np.clip(hats, 0, 1)
    return clipped
