"""What a reading is expected to be: the usual of the hour plus how far off the last ones were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.anomaly import usual
from streams.anomaly.state import Arrays

__all__ = ["Expectation", "Readings", "expect", "learn", "pace", "take_in"]

Floats = NDArray[np.float64]

_HOUR_MS = 3_600_000
_MEMORY_MS = 28 * 24 * _HOUR_MS
"""How far all-history statistics reach back once there is so much history."""
_CONTEXT_READINGS = 8.0
_CONTEXT_HALF_LIFE_MS = 3 * _HOUR_MS
"""After a gap, what was so before it says little."""
_NOISE_READINGS = 500.0
_SETTLED_READINGS = 30
"""Before, too little is known to call a reading an outlier."""
_OUTLIER = 6.0
"""An error of more spreads teaches no more than this: an incident is not the new usual."""
_INDEPENDENT_MS = 300_000.0
"""Readings closer together than this say the same of an hour and count less in it."""


@dataclass(frozen=True)
class Readings:
    """One reading of each of k different series, and what the state says of their timing."""

    rows: NDArray[np.intp]
    at_ms: NDArray[np.int64]
    value: Floats
    seen: Floats
    """Readings before this one."""
    first_ms: NDArray[np.int64]
    since_ms: Floats
    """Time since the reading before; 0 for the first."""
    interval_ms: Floats
    """The usual time between readings."""

    @property
    def passed(self) -> Floats:
        """Readings' time that has passed, at least 1; more after a gap."""
        return np.asarray(np.maximum(1.0, self.since_ms / np.maximum(self.interval_ms, 1.0)))


@dataclass(frozen=True)
class Expectation:
    """What k readings should be; values in the unit of the series."""

    where: usual.Place
    mean: Floats
    """Of all history."""
    spread: Floats
    """Mean absolute deviation of all history."""
    noise: Floats
    """Mean absolute error of the expectations so far."""
    usual: Floats
    offset: Floats
    scale: Floats
    """Mean absolute error to be expected here, never 0."""
    floor: Floats
    """The least that counts as a deviation at all."""

    @property
    def value(self) -> Floats:
        return self.usual + self.offset


def pace(passed: Floats, readings: float, seen: Floats) -> Floats:
    """Return the weight of a reading in a mean over about so many; a plain mean at first."""
    return np.asarray(np.maximum(1 - np.exp(-passed / readings), 1 / (seen + 1)))


def take_in(
    state: Arrays, rows: NDArray[np.intp], at_ms: NDArray[np.int64], value: Floats
) -> Readings:
    """Return the readings with their timing. A time before the last one counts as no time."""
    seen = state["readings"][rows].astype(np.float64)
    first = seen == 0
    since = np.where(first, 0, np.maximum(at_ms - state["last_ms"][rows], 0)).astype(np.float64)
    before = state["interval_ms"][rows].astype(np.float64)
    # A gap moves the usual interval by at most twice itself, and by little.
    change = np.clip(since - before, -before, 2 * before + 1) * np.maximum(0.02, 1 / (seen + 1))
    interval = np.where(seen <= 1, since, before + change)
    first_ms = np.where(first, at_ms, state["first_ms"][rows])
    return Readings(
        rows=rows,
        at_ms=at_ms,
        value=value,
        seen=seen,
        first_ms=first_ms,
        since_ms=since,
        interval_ms=interval,
    )


def expect(state: Arrays, readings: Readings) -> Expectation:
    """Return what the readings should have been, from the past alone."""
    rows, first = readings.rows, readings.seen == 0
    mean = np.where(first, readings.value, state["mean"][rows])
    spread = state["spread"][rows].astype(np.float64)
    noise = state["noise"][rows].astype(np.float64)
    where = usual.place(readings.at_ms)
    known = usual.look_up(state, rows, where, mean, noise)
    # A series that never moved has no scale of its own: a thousandth of its level is one.
    floor = np.maximum(0.05 * spread, 1e-3 * np.abs(mean)) + 1e-9
    scale = np.maximum(np.maximum(known.noise, 0.3 * noise), floor)
    gap = np.maximum(readings.since_ms - readings.interval_ms, 0)
    offset = state["offset"][rows] * np.exp2(-gap / _CONTEXT_HALF_LIFE_MS)
    return Expectation(
        where=where,
        mean=mean,
        spread=spread,
        noise=noise,
        usual=known.value,
        offset=offset,
        scale=scale,
        floor=floor,
    )


def learn(state: Arrays, readings: Readings, expected: Expectation) -> None:
    """Let the state follow the readings; outliers are taken in only as far as they are known."""
    rows, x, seen = readings.rows, readings.value, readings.seen
    settled = seen > _SETTLED_READINGS
    reach = _OUTLIER * expected.scale
    taken = np.where(settled, np.clip(x, expected.value - reach, expected.value + reach), x)
    error = np.abs(x - expected.value)
    limit = _OUTLIER * np.maximum(expected.noise, expected.floor)
    error = np.where(settled, np.minimum(error, limit), error)

    memory = np.maximum(1 / (seen + 1), np.minimum(readings.since_ms / _MEMORY_MS, 1))
    limit = _OUTLIER * np.maximum(expected.spread, expected.floor)
    away = x - expected.mean
    away = np.where(settled, np.clip(away, -limit, limit), away)
    state["mean"][rows] = expected.mean + memory * away
    state["spread"][rows] = expected.spread + memory * (np.abs(away) - expected.spread)
    rate = np.where(seen == 0, 0, np.maximum(1 / np.maximum(seen, 1), 1 / _NOISE_READINGS))
    state["noise"][rows] = expected.noise + rate * (error - expected.noise)
    follow = pace(readings.passed, _CONTEXT_READINGS, seen)
    off = taken - expected.usual
    state["offset"][rows] = expected.offset + follow * (off - expected.offset)
    amount = np.clip(readings.interval_ms / _INDEPENDENT_MS, 0.05, 1.0)
    usual.learn(state, rows, expected.where, taken, error, amount)

    state["readings"][rows] += 1
    state["first_ms"][rows] = readings.first_ms
    state["last_ms"][rows] = readings.at_ms
    state["interval_ms"][rows] = readings.interval_ms
