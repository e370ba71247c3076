"""The usual course of a day: expected value and noise by hour, for working days and weekends.

Both are interpolated between the middles of the hours. An hour seen seldom leans on the same
hour of the other kind of day and on the mean of all: young profiles are flat, not wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.local_time import DAY_MS, is_weekend
from streams.anomaly.state import DAY_KINDS, HOURS, Arrays

__all__ = ["Place", "Usual", "learn", "look_up", "place"]

Floats = NDArray[np.float64]
Index = NDArray[np.intp]
Array = NDArray[np.float32]

_SHRINKAGE = 6.0
"""Readings an hour must have seen to count as much as what it leans on."""
_BORROWED_AT_MOST = 6.0
_FULL_WEIGHT = 96.0
"""Readings remembered per hour: at 12 an hour eight days of the kind, so it follows seasons."""


@dataclass(frozen=True)
class Place:
    """Where in the week readings are: two neighbouring hours and how far between them."""

    day_kind: Index
    before: Index
    after: Index
    share_after: Floats


@dataclass(frozen=True)
class Usual:
    """What is usual there: value and mean absolute error."""

    value: Floats
    noise: Floats


def place(at_ms: NDArray[np.int64]) -> Place:
    """Return where in the week the times are (epoch ms, in the clock people live by)."""
    hour = at_ms % DAY_MS * (HOURS / DAY_MS) - 0.5
    before = np.floor(hour).astype(np.intp)
    weekend = is_weekend(at_ms)
    return Place(weekend.astype(np.intp), before % HOURS, (before + 1) % HOURS, hour - before)


def look_up(state: Arrays, rows: Index, where: Place, mean: Floats, noise: Floats) -> Usual:
    """Return what is usual; ``mean`` and ``noise`` are the series' own over all hours."""
    values, noises, weights = _flat(state)
    value = np.zeros(len(rows))
    error = np.zeros(len(rows))
    for hour, share in _halves(where):
        own = _cells(rows, where.day_kind, hour)
        other = _cells(rows, 1 - where.day_kind, hour)
        weight = weights[own].astype(np.float64)
        borrowed = np.minimum(weights[other], _BORROWED_AT_MOST)
        lean_on = (values[other] * borrowed + mean * _SHRINKAGE) / (borrowed + _SHRINKAGE)
        total = weight + _SHRINKAGE
        value += share * (values[own] * weight + lean_on * _SHRINKAGE) / total
        error += share * (noises[own] * weight + noise * _SHRINKAGE) / total
    return Usual(value, error)


def learn(
    state: Arrays, rows: Index, where: Place, value: Floats, error: Floats, amount: Floats
) -> None:
    """Let ``state`` follow values and absolute errors; ``amount`` 0..1: what a reading counts."""
    values, noises, weights = _flat(state)
    for hour, share in _halves(where):
        cell = _cells(rows, where.day_kind, hour)
        part = share * amount
        weight = np.minimum(weights[cell] + part, _FULL_WEIGHT)
        # The very first reading of an hour may have no part in it at all.
        rate = part / np.maximum(weight, 1e-9)
        values[cell] += rate * (value - values[cell])
        noises[cell] += rate * (error - noises[cell])
        weights[cell] = weight


def _halves(where: Place) -> tuple[tuple[Index, Floats], tuple[Index, Floats]]:
    return (where.before, 1 - where.share_after), (where.after, where.share_after)


def _cells(rows: Index, day_kind: Index, hour: Index) -> Index:
    """Return flat indices: one gather by a flat index is several times faster than by three."""
    return (rows * DAY_KINDS + day_kind) * HOURS + hour


def _flat(state: Arrays) -> tuple[Array, Array, Array]:
    return (
        state["usual"].reshape(-1),
        state["usual_noise"].reshape(-1),
        state["usual_weight"].reshape(-1),
    )
