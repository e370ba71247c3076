"""What the sensors other than traffic detectors measure: plausible days, vectorised.

A channel takes ``traits`` float64[4, n] (uniform 0..1, fixed for each sensor by the seed),
``ts`` int64[n] (epoch ms), ``local`` int64[n] (the same in local time, by which people live) and a
random generator, and returns the kind's measures by name.
Everything except the noise is a function of sensor and time, so a run may start anywhere. A kind
without a channel of its own takes the course that its declaration says.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from civicstream.kinds import KINDS, Kind
from sensors_sim.containers import fill_days
from sensors_sim.demand import hour_of_day, travel_demand

__all__ = ["CHANNELS", "TRAITS", "measure_channel"]

Floats = NDArray[np.float64]
Times = NDArray[np.int64]
Measures = dict[str, Floats]

TRAITS = 4
_HOUR_MS = 3_600_000.0


def measure_channel(
    kind: str, traits: Floats, ts: Times, rng: np.random.Generator, offset_ms: int = 0
) -> Floats:
    """Return float64[measures, n] of a kind, in the order of its measures and in their ranges.

    ``offset_ms``: local time minus UTC.
    """
    local = ts + offset_ms
    channel = CHANNELS.get(kind)
    measures = (
        channel(traits, ts, local, rng)
        if channel is not None
        else _usual_course(KINDS[kind], traits, ts, local, rng)
    )
    return np.stack(
        [
            np.clip(np.round(measures[m.name], 0 if m.integer else 3), m.minimum, m.maximum)
            for m in KINDS[kind].measures
        ]
    )


def _drift(ts: Times, phase: Floats, hours: float) -> Floats:
    """Return a slow wander in -1..1 that seems random: three sines without a common period."""
    t = ts / (_HOUR_MS * hours) * 2 * np.pi
    turn = phase * 2 * np.pi
    wander: Floats = (
        0.5 * np.sin(t + turn)
        + 0.3 * np.sin(t * 2.71 + 3 * turn)
        + 0.2 * np.sin(t * 7.39 + 7 * turn)
    )
    return wander


def _usual_course(
    kind: Kind, traits: Floats, ts: Times, local: Times, rng: np.random.Generator
) -> Measures:
    """Return what the declaration says: each sensor at a level of its own between the measure's
    usual values, most in the afternoon, with a slow wander and some noise.
    """
    afternoon = np.sin((hour_of_day(local) - 9) / 12 * np.pi)  # most at 15:00
    measures = {}
    for number, measure in enumerate(kind.measures):
        low, high = measure.usual_range
        own, phase = traits[number % TRAITS], traits[(number + 1) % TRAITS]
        level = 0.5 + 0.25 * (own - 0.5) + 0.2 * afternoon + 0.12 * _drift(ts, phase, 30)
        measures[measure.name] = low + (high - low) * (level + rng.normal(0, 0.01, len(ts)))
    return measures


def _common(ts: Times) -> Floats:
    """The phase of what the whole city shares, such as its weather."""
    return np.zeros(len(ts))


def _sun(local: Times) -> Floats:
    """Return 0 at night to 1 at noon."""
    sun: Floats = np.maximum(np.sin((hour_of_day(local) - 6) / 12 * np.pi), 0.0)
    return sun


def _air(traits: Floats, ts: Times, local: Times, rng: np.random.Generator) -> Measures:
    traffic = travel_demand(local)
    stagnant = 1 + 0.5 * _drift(ts, _common(ts), 60)  # still days hold pollution, windy clear it
    n = len(ts)
    no2 = (8 + 45 * traits[0] * traffic) * stagnant * rng.lognormal(0, 0.08, n)
    pm25 = (5 + 12 * traits[1] + 6 * traffic) * stagnant * rng.lognormal(0, 0.1, n)
    # Ozone forms in sunlight and is eaten by fresh exhaust.
    o3 = np.maximum(20 + 70 * _sun(local) - 0.5 * no2 + rng.normal(0, 3, n), 1.0)
    return {
        "pm25": pm25,
        "pm10": pm25 * (1.3 + 0.5 * traits[2]) + rng.exponential(1.0, n),
        "no2": no2,
        "o3": o3,
        "co": 0.2 + no2 / 100 * rng.lognormal(0, 0.05, n),
        "so2": 1 + 3 * traits[3] * rng.lognormal(0, 0.2, n),
    }


def _noise(traits: Floats, ts: Times, local: Times, rng: np.random.Generator) -> Measures:
    n = len(ts)
    busy = 10 * np.log10(0.02 + travel_demand(local))  # sound energy goes with the traffic
    level = 58 + 16 * traits[0] + busy + rng.normal(0, 1.2, n)
    return {"LAeq": level, "LAmax": level + 4 + rng.exponential(4.0, n)}


def _weather(traits: Floats, ts: Times, local: Times, rng: np.random.Generator) -> Measures:
    n = len(ts)
    season = -np.cos((ts / (24 * _HOUR_MS) / 365.25 - 0.055) * 2 * np.pi)
    daily = np.sin((hour_of_day(local) - 9) / 12 * np.pi)  # warmest at 15:00
    front = _drift(ts, _common(ts), 90)
    rain = np.maximum(_drift(ts, _common(ts) + 0.31, 31) - 0.45, 0.0) * 18
    temperature = 10.5 + 8 * season + 4 * daily + 4 * front - 1.5 * traits[0]
    humidity = 0.78 - 0.12 * daily - 0.06 * front + 0.15 * (rain > 0)
    return {
        "temperature": temperature + rng.normal(0, 0.1, n),
        "relativeHumidity": np.clip(humidity + rng.normal(0, 0.01, n), 0.15, 1.0),
        "windSpeed": (3 + 1.2 * front + 0.8 * traits[1]) * rng.lognormal(0, 0.25, n),
        "windDirection": (225 + 90 * _drift(ts, _common(ts) + 0.7, 40) + rng.normal(0, 8, n)) % 360,
        "precipitation": rain * rng.gamma(4.0, 0.25, n),
        "atmosphericPressure": 1013 - 14 * front - 3 * traits[2] + rng.normal(0, 0.1, n),
    }


def _parking(traits: Floats, ts: Times, local: Times, rng: np.random.Generator) -> Measures:
    total = np.round(20 + 480 * traits[0] ** 2)
    hour = hour_of_day(local)
    day = 1 / (1 + np.exp(-(hour - 8.5) * 1.5)) - 1 / (1 + np.exp(-(hour - 18) * 1.2))
    # Some car parks fill by day (offices), some by night (homes).
    by_day, by_night = 0.15 + 0.75 * day, 0.9 - 0.55 * day
    taken = np.where(traits[1] < 0.7, by_day, by_night) + 0.06 * _drift(ts, traits[2], 5)
    free = np.round(total * (1 - taken) + rng.normal(0, 0.6, len(ts)))
    return {"availableSpotNumber": np.clip(free, 0, total), "totalSpotNumber": total}


def _waste(traits: Floats, ts: Times, local: Times, rng: np.random.Generator) -> Measures:
    """Fill evenly over some days, then emptied: a sawtooth with its own period and phase."""
    days = fill_days(traits)
    level = (ts / (24 * _HOUR_MS) / days + traits[1]) % 1 * (0.8 + 0.2 * traits[2])
    outside = 10 + 6 * np.sin((hour_of_day(local) - 9) / 12 * np.pi)
    warmth = outside + 6 * level + rng.normal(0, 0.2, len(ts))
    return {"fillingLevel": np.round(level, 3), "temperature": warmth}


def _water(traits: Floats, ts: Times, local: Times, rng: np.random.Generator) -> Measures:
    n = len(ts)
    storm = np.maximum(_drift(ts, _common(ts) + 0.31, 31) - 0.45, 0.0)
    level = 0.6 + 1.4 * traits[0] + 0.15 * _drift(ts, traits[1], 26) + 2.5 * storm
    level += rng.normal(0, 0.005, n)
    width = 1 + 6 * traits[2]
    use = travel_demand(local)  # people draw water when they are up and about
    return {
        "level": level,
        "flow": 1.7 * width * np.maximum(level - 0.3, 0.0) ** 1.5,  # broad-crested weir
        "pressure": 4.5 - 1.2 * use * (0.5 + 0.5 * traits[3]) + rng.normal(0, 0.03, n),
    }


def _energy(traits: Floats, ts: Times, _local: Times, rng: np.random.Generator) -> Measures:
    """The counter is the integral of the mean power, so it only ever grows.

    By universal time: a clock that is put back would set it back.
    """
    base, swing = 20 + 380 * traits[0] ** 2, 0.2 + 0.4 * traits[1]
    day = 2 * np.pi / 24
    hours = ts / _HOUR_MS
    angle = day * (hours - 13 - 4 * traits[2])
    power = base * (1 + swing * np.cos(angle)) * (1 + 0.03 * rng.standard_normal(len(ts)))
    # Counted since 2020; the sine's integral is at most base * swing / day, far below the sum.
    since = hours - 438_288
    energy = base * (since + swing / day * np.sin(angle))
    drop = 4 * swing * np.cos(angle)
    return {
        "activePower": power,
        "activeEnergyImport": energy,
        "voltage": 231 - drop + rng.normal(0, 0.6, len(ts)),
    }


CHANNELS: dict[str, Callable[[Floats, Times, Times, np.random.Generator], Measures]] = {
    "air": _air,
    "noise": _noise,
    "weather": _weather,
    "parking": _parking,
    "waste": _waste,
    "water": _water,
    "energy": _energy,
}
