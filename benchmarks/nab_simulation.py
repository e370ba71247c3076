"""Simulated labelled traffic series: what the detector is developed on, and judged on beside
the recorded ones.

A series is one sensor's speed [mph], occupancy [%] or travel time [s] over some weeks, read
every 5 to 10 minutes with gaps, with rush hours that differ from day to day, weekends, noisy
nights and stray readings that are nobody's anomaly. One to four events are put in and
labelled: a window of a tenth of the rows, shared between the events, around each one's start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EVENTS", "MEASURES", "LabelledSeries", "simulate_corpus", "simulate_series"]

Floats = NDArray[np.float64]
Window = tuple[np.datetime64, np.datetime64]

MEASURES = ("speed", "occupancy", "travel_time")
CORPUS = ("speed", "speed", "speed", "occupancy", "occupancy", "travel_time", "travel_time")
_HOUR_MS = 3_600_000
_START = np.datetime64("2024-03-04T00:00", "ms")


@dataclass(frozen=True)
class LabelledSeries:
    """n readings of one sensor and the windows in which something was wrong."""

    name: str
    times: NDArray[np.datetime64]
    values: Floats
    windows: tuple[Window, ...]
    events: tuple[str, ...] = ()


@dataclass
class _Road:
    """What the place is like; the same for all of a series."""

    free_flow: float
    congestion_share: float
    """How much of the free-flow speed an ordinary rush hour takes away, 0..1."""
    noise: float
    stray_share: float
    queueing: float
    """How many times the free travel time an ordinary rush hour adds, where it queues."""


def simulate_corpus(seed: int) -> list[LabelledSeries]:
    """Return seven series of mixed measures, as a benchmark's category would hold."""
    rng = np.random.default_rng(seed)
    return [simulate_series(rng, m, f"{m}_{seed}_{i}") for i, m in enumerate(CORPUS)]


def simulate_series(
    rng: np.random.Generator, measure: str, name: str, *, eventful: bool = True
) -> LabelledSeries:
    """Return one series of ``measure`` with 1 to 4 labelled events, or none."""
    n = int(rng.integers(1_000, 2_600))
    times = _times(rng, n, slow=measure == "travel_time")
    road = _Road(
        free_flow=rng.uniform(62, 85),
        congestion_share=rng.choice([0.03, 0.1, 0.25, 0.5]),
        noise=rng.uniform(0.02, 0.1),
        stray_share=rng.choice([0.0, 0.001, 0.004]),
        queueing=rng.choice([0.0, 0.5, 1.5, 4.0]),
    )
    demand, jam = _demand_and_jam(rng, times)
    events = int(rng.choice([1, 2, 3, 4], p=[0.45, 0.3, 0.15, 0.1])) if eventful else 0
    starts = _event_rows(rng, n, events) if events else []
    kinds = [str(k) for k in rng.choice(list(EVENTS), len(starts), p=_EVENT_SHARES)]
    if measure == "occupancy":
        kinds = _visible(kinds, demand[np.array(starts, np.intp)] < np.median(demand))
    # How much of the road an event takes, 0..1 per reading: it acts on the traffic.
    loss = np.zeros(n)
    for kind, start in zip(kinds, starts, strict=True):
        loss = np.maximum(loss, _traffic_event(rng, kind, times, start))
    values = _measured(rng, measure, road, demand, jam, loss)
    for kind, start in zip(kinds, starts, strict=True):
        EVENTS[kind](rng, values, _Place(times, start, measure))
    half = n // 10 // max(events, 1) // 2
    windows = tuple((times[s - half], times[s + half]) for s in starts)
    return LabelledSeries(name, times, np.round(values, 2), windows, tuple(kinds))


def _times(rng: np.random.Generator, n: int, *, slow: bool) -> NDArray[np.datetime64]:
    """Return n rising reading times with gaps; one long gap in every second series."""
    minutes = rng.choice([4.0, 5.0, 5.0, 5.0, 5.0, 6.0, 10.0], n)
    if slow:
        minutes = rng.choice([6.0, 10.0, 10.0, 10.0, 20.0, 20.0, 40.0], n)
    gap = rng.random(n)
    minutes = np.where(gap < 0.05, minutes + 5 * rng.integers(1, 8, n), minutes)
    minutes = np.where(gap < 0.006, minutes + rng.uniform(60, 900, n), minutes)
    if rng.random() < 0.5:
        minutes[rng.integers(n // 5, n)] += rng.uniform(1, 4) * 24 * 60
    offset = rng.integers(0, 7 * 24 * 60)
    passed = (np.cumsum(minutes) + offset).astype(np.int64)
    return _START + passed.astype("m8[m]").astype("m8[ms]")


def _demand_and_jam(
    rng: np.random.Generator, times: NDArray[np.datetime64]
) -> tuple[Floats, Floats]:
    """Return demand (about 0..1) and how jammed the ordinary rush hour is (0..1) at ``times``."""
    minutes = (times - _START).astype("m8[m]").astype(np.int64)
    day, hour = minutes // 1440, minutes % 1440 / 60
    weekend = day % 7 >= 5
    morning, evening = rng.uniform(6.8, 8.5), rng.uniform(16, 17.8)
    strength = rng.uniform(0.3, 1, 2)
    days = int(day.max()) + 1
    of_day = np.clip(rng.normal(1, 0.25, (days, 2)), 0.1, 1.7)
    shift = rng.normal(0, 0.25, (days, 2))

    def hump(at: Floats, width: float) -> Floats:
        return np.asarray(np.exp(-0.5 * ((hour - at) / width) ** 2))

    rush = [
        strength[k] * of_day[day, k] * hump(at + shift[day, k], width)
        for k, (at, width) in enumerate(((morning, 0.8), (evening, 1.1)))
    ]
    midday = hump(np.full(len(hour), 13.0), 4.5)
    demand = np.where(weekend, 0.6 * midday, 0.45 * midday + 0.5 * (rush[0] + rush[1]))
    jam = np.where(weekend, 0.0, np.maximum(rush[0], rush[1]) ** 2)
    return np.clip(demand, 0.02, 1.2), np.clip(jam, 0, 1)


def _measured(
    rng: np.random.Generator, measure: str, road: _Road, demand: Floats, jam: Floats, loss: Floats
) -> Floats:
    """Return what the sensor reads when the traffic is so."""
    n = len(demand)
    free = road.free_flow
    slow = np.maximum(road.congestion_share * jam, loss)
    # Few vehicles a reading at night: the mean of few is noisier. What is far from the others
    # is slow, not fast: in recordings the lowest readings lie a third farther off than the highest.
    spread = road.noise * (1 + 0.5 * np.exp(-6 * demand))
    noise = rng.standard_t(6, n)
    noise = np.where(noise < 0, noise, np.abs(rng.normal(0, 1, n)))
    speed = free * (1 - slow) * (1 + spread * noise) - 4 * demand
    stray = rng.random(n) < road.stray_share
    if measure == "speed":
        speed = np.where(stray, speed * rng.uniform(0.55, 0.85, n), speed)
        return np.asarray(np.clip(speed, 3, 110))
    if measure == "occupancy":
        mean = 9 * demand / np.maximum(1 - slow, 0.12) + 18 * loss
        read = mean * rng.gamma(7, 1 / 7, n)
        return np.asarray(np.clip(np.where(stray, read * 1.8, read), 0, 100))
    # Recorded: 5 % of the trips take more than four times the median, without an incident.
    queue = road.queueing * jam * np.exp(_wander(rng, n, 0.95, 0.25))
    trip = rng.uniform(90, 300) / np.maximum(1 - slow, 0.1) * (1 + queue)
    read = trip * np.exp(_wander(rng, n, 0.9, road.noise) + rng.normal(0, road.noise, n))
    return np.asarray(np.where(stray, read * rng.uniform(1.5, 3, n), read))


def _wander(rng: np.random.Generator, n: int, persistence: float, step: float) -> Floats:
    """Return a path [n] that forgets at ``1 - persistence`` a reading, steps of about ``step``."""
    path = np.zeros(n)
    steps = rng.normal(0, step, n)
    for i in range(1, n):
        path[i] = persistence * path[i - 1] + steps[i]
    return path


def _event_rows(rng: np.random.Generator, n: int, events: int) -> list[int]:
    """Return the first rows of ``events`` events whose windows are judged and do not overlap."""
    half = n // 10 // events // 2 + 1
    first, last = int(0.15 * n) + half, n - half - 1
    free = last - first - (events - 1) * 2 * half
    offsets = np.sort(rng.integers(0, free, events))
    return [int(first + offset + k * 2 * half) for k, offset in enumerate(offsets)]


def _visible(kinds: list[str], empty: NDArray[np.bool_]) -> list[str]:
    """Return the kinds of event with a spike where the road is empty and zero stays zero.

    Nobody would label a change by a factor there, for nobody could see where it begins.
    """
    return [
        "spike" if kind in _BY_A_FACTOR and nothing else kind
        for kind, nothing in zip(kinds, empty, strict=True)
    ]


def _lasting(times: NDArray[np.datetime64], start: int, hours: float) -> slice:
    """Return the rows from ``start`` for that time, at least one."""
    end = times[start] + np.timedelta64(int(hours * _HOUR_MS), "ms")
    return slice(start, max(int(np.searchsorted(times, end)), start + 1))


def _traffic_event(
    rng: np.random.Generator, kind: str, times: NDArray[np.datetime64], start: int
) -> Floats:
    """Return the share of the free-flow speed [n] that an event of this kind takes away."""
    loss = np.zeros(len(times))
    if kind not in {"incident", "out_of_hours_jam"}:
        return loss
    deepest = rng.uniform(0.45, 0.85) if kind == "incident" else rng.uniform(0.3, 0.6)
    rows = _lasting(times, start, rng.uniform(0.4, 3) if kind == "incident" else rng.uniform(2, 5))
    count = rows.stop - rows.start
    course = np.minimum(np.linspace(0.4, 3, count), np.linspace(2.5, 0.3, count))
    loss[rows] = deepest * np.clip(course, 0, 1)
    return loss


@dataclass(frozen=True)
class _Place:
    """Where in a series an event begins."""

    times: NDArray[np.datetime64]
    start: int
    measure: str


Event = Callable[[np.random.Generator, Floats, _Place], None]
"""Changes the values read, in place."""


def _in_traffic(_rng: np.random.Generator, _values: Floats, _place: _Place) -> None:
    """Do nothing more: the event acted on the traffic already."""


def _spike(rng: np.random.Generator, values: Floats, place: _Place) -> None:
    speed = place.measure == "speed"
    factor = rng.uniform(0.15, 0.4) if speed else rng.uniform(3, 8)
    level = float(np.quantile(values, 0.5 if speed else 0.8))
    values[place.start : place.start + int(rng.integers(1, 4))] = level * factor


def _level_shift(rng: np.random.Generator, values: Floats, place: _Place) -> None:
    factor = rng.uniform(0.5, 0.75) if rng.random() < 0.5 else rng.uniform(1.4, 2)
    if place.measure == "speed":
        factor = rng.uniform(0.55, 0.75)
    values[_lasting(place.times, place.start, rng.uniform(18, 400))] *= factor


def _failure(rng: np.random.Generator, values: Floats, place: _Place) -> None:
    values[_lasting(place.times, place.start, rng.uniform(1, 8))] = 0.0


def _noise_burst(rng: np.random.Generator, values: Floats, place: _Place) -> None:
    rows = _lasting(place.times, place.start, rng.uniform(1.5, 6))
    spread = rng.uniform(0.3, 0.5)
    values[rows] = np.abs(values[rows] * (1 + spread * rng.normal(0, 1, rows.stop - rows.start)))


EVENTS: dict[str, Event] = {
    "incident": _in_traffic,
    "out_of_hours_jam": _in_traffic,
    "spike": _spike,
    "level_shift": _level_shift,
    "failure": _failure,
    "noise_burst": _noise_burst,
}
_BY_A_FACTOR = {"level_shift", "failure", "noise_burst"}
_EVENT_SHARES = (0.42, 0.12, 0.22, 0.08, 0.08, 0.08)
