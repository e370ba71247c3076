"""Drifting: a deviation from the neighbours that is not the usual one.

Per sensor and measure, every block: c = value - own long-term level; x = median of the
neighbours' c; the usual relation is c = b x with b the regression coefficient, learned and shrunk
towards 1; the residual, smoothed over half an hour, is held against its own usual size S. A CUSUM
of |residual| / S convicts. Where the neighbours disagree among themselves (the front of a queue
stands between them) nothing is concluded, and while a sensor is under suspicion it learns
nothing, or a slow drift would be learned as usual.

A traffic detector is also held against itself: speed, count and occupancy imply the length of its
vehicles, in free flow and in a jam alike. As long as that is as ever, a deviation from the
neighbours is a queue that ends there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.health.expectations import Expected
from streams.health.sensor_table import Column, SensorTable

__all__ = ["COLUMNS", "CONVICTS", "MATURE_BLOCKS", "judge_drift", "neighbour_median"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

COLUMNS = (
    Column("residual", "f4", per_measure=True),
    Column("drift", "f2", per_measure=True),
    Column("consistent", "u1"),
    Column("level", "f4", per_measure=True, slow=True),
    Column("co_moment", "f4", per_measure=True, slow=True),
    Column("neighbour_moment", "f4", per_measure=True, slow=True),
    Column("deviation_moment", "f4", per_measure=True, slow=True),
    Column("blocks", "f4", per_measure=True, slow=True),
)
"""``residual``: the smoothed one; ``deviation_moment``: its mean square, S squared; ``blocks``:
how many blocks with neighbours have been learned from."""

CONVICTS = 20.0
_MOST = 30.0
MATURE_BLOCKS = 288
"""A day of five-minute blocks: before, the neighbours' different mornings would look like drift."""

_FRESH_BLOCKS = 6
_SMOOTHING = 1 / 6
_MANY = 5
_CONSISTENT = 2.0
_USUAL = 3.5
"""Multiples of S: half an hour's mean of a healthy sensor goes beyond that once in thousands."""

_LEARNS_BELOW = 3.0
_MEMORY = 1440.0
"""Blocks, five days: with two, a drift of a few per cent an hour made itself usual as it went."""

_SETTLING_BLOCKS = 36
"""Three hours in which the level is still being found; what deviates from it then is no measure."""

_MOST_BLOCKS = 2.0**16


def judge_drift(
    table: SensorTable, neighbours: Rows, m: int, value: Floats, expected: Expected, ok: Bools
) -> None:
    """Add one block's evidence about measure ``m``, against neighbours or the own past.

    ``value`` [n] are block means, NaN where there is none; ``neighbours`` [n, k] rows, -1 for
    none; ``ok`` [n] the sensors that may serve as neighbours and learn.
    """
    alone = expected.own_floor is not None
    floor = expected.own_floor if alone else expected.neighbour_floor
    if floor is None or not len(table):
        return
    blocks = table["blocks"][:, m].astype(np.float64)
    level = table["level"][:, m].astype(np.float64)
    level = np.where(blocks > 0, level, np.where(np.isnan(value), 0.0, value))
    own = value - level
    usable = np.where(ok & (blocks >= _FRESH_BLOCKS), own, np.nan)
    middle, spread = _nothing(own) if alone else _reference(usable, neighbours)
    co, moment = table["co_moment"][:, m], table["neighbour_moment"][:, m].astype(np.float64)
    slope = np.clip((co + floor**2) / (moment + floor**2), 0.0, 3.0)
    residual = own - slope * middle
    size = np.sqrt(table["deviation_moment"][:, m].astype(np.float64) + floor**2)
    measured = ~np.isnan(residual) & (spread <= 3 * size)
    smooth = table["residual"][:, m].astype(np.float64)
    smooth = np.where(measured, smooth + _SMOOTHING * (residual - smooth), smooth)
    z = np.abs(smooth) / size
    judged = measured & (blocks >= MATURE_BLOCKS)
    if expected.derived:
        table["consistent"][:] = measured & (z < _CONSISTENT) & (blocks >= _FRESH_BLOCKS)
    else:
        # Its own figures fit together as ever: then it is the traffic that differs.
        judged &= table["consistent"] == 0
    points = np.where(judged, np.clip(z - _USUAL, -2.0, 4.0), 0.0)
    table["residual"][:, m] = smooth
    table["drift"][:, m] = np.clip(table["drift"][:, m] + points, 0.0, _MOST)

    young = blocks < MATURE_BLOCKS
    learns = ok & ~np.isnan(value) & (young | (measured & (z < _LEARNS_BELOW)))
    _learn(table, m, learns, own, middle, smooth, value)


def _learn(
    table: SensorTable,
    m: int,
    learns: Bools,
    own: Floats,
    middle: Floats,
    smooth: Floats,
    value: Floats,
) -> None:
    blocks = table["blocks"][:, m].astype(np.float64)
    mature = blocks >= MATURE_BLOCKS
    gain = np.where(learns, np.where(mature, 1 / _MEMORY, 1 / (blocks + 1)), 0.0)
    level = table["level"][:, m]
    fresh = learns & (blocks == 0)
    table["level"][:, m] = np.where(fresh, value, level + gain * np.where(learns, own, 0.0))
    paired = learns & ~np.isnan(middle)
    x, y = np.where(paired, middle, 0.0), np.where(paired, own, 0.0)
    gain = np.where(paired, gain, 0.0)
    for name, product in (("co_moment", x * y), ("neighbour_moment", x * x)):
        before = table[name][:, m]
        table[name][:, m] = before + gain * (product - before)
    before = table["deviation_moment"][:, m]
    settled = blocks - _SETTLING_BLOCKS
    later = np.where(mature, gain, np.where(paired, 1 / np.maximum(settled + 1, 1), 0.0))
    later = np.where(settled >= 0, later, 0.0)
    table["deviation_moment"][:, m] = before + later * (smooth**2 - before)
    table["blocks"][:, m] = np.where(learns, np.minimum(blocks + 1, _MOST_BLOCKS), blocks)


def _nothing(own: Floats) -> tuple[Floats, Floats]:
    return np.zeros(len(own)), np.zeros(len(own))


def _reference(usable: Floats, neighbours: Rows) -> tuple[Floats, Floats]:
    """Return [n] what to expect of each sensor's value, and how much the neighbours disagree.

    A sensor with too few neighbours is held against all of its kind in the partition: if they
    have little to do with it, the size of its usual residual says so.
    """
    middle, spread = neighbour_median(usable, neighbours)
    lonely = np.isnan(middle)
    known = usable[~np.isnan(usable)]
    if lonely.any() and len(known) >= _MANY:
        middle = np.where(lonely, np.median(known), middle)
        spread = np.where(lonely, 0.0, spread)
    return middle, spread


def neighbour_median(value: Floats, neighbours: Rows) -> tuple[Floats, Floats]:
    """Return [n] the median of the neighbours' values and the width of their middle half.

    NaN where fewer than two neighbours have a value.
    """
    around = np.append(value, np.nan)[neighbours]
    around.sort(axis=1)  # NaN last
    count = (~np.isnan(around)).sum(axis=1)
    rows = np.arange(len(around))

    def at(place: NDArray[np.floating]) -> Floats:
        picked: Floats = around[rows, np.clip(place, 0, around.shape[1] - 1).astype(np.intp)]
        return picked

    last = np.maximum(count - 1, 0)
    median = (at(np.floor(last / 2)) + at(np.ceil(last / 2))) / 2
    spread = at(np.floor(0.75 * last + 0.5)) - at(np.floor(0.25 * last))
    few = count < 2
    return np.where(few, np.nan, median), np.where(few, np.nan, spread)
