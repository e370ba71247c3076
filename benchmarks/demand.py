"""``civicstream bench demand``: do the forecasts of demand hold to their 80 % intervals?

Arrivals of tasks (steady, and with storms), waste containers (those of the simulated city, and
such as people fill), and car parks of the simulated city. Seeds are fixed and the work too: the
time is what it takes.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.demand_series import (
    START_MS,
    STEP_MS,
    Containers,
    people_fill,
    simulate_arrivals,
)
from civicstream.city import Area, City, Sensors
from civicstream.kinds import KINDS
from civicstream.service_events import BinForecast
from sensors_sim.channels import TRAITS, measure_channel
from streams.dispatch.demand import BinForecaster, ParkingForecaster
from streams.dispatch.demand.arrivals import HOURS_AHEAD, ArrivalModel
from streams.dispatch.demand.weekly_shape import HOUR_MS
from streams.windows.windows import Columns

__all__ = ["judge_bins", "readings", "run"]

Floats = NDArray[np.float64]

_RATES = (0.1, 0.5, 2.0, 10.0)
_AREAS, _WEEKS, _FIRST_WEEKS = 8, 10, 4
_LIMIT = 0.7
"""Fill level to be predicted: containers of both kinds pass it before they are emptied."""
_RING = ((5.0, 52.0), (5.1, 52.0), (5.1, 52.1), (5.0, 52.0))


def run(*, seconds: float) -> dict[str, object]:  # noqa: ARG001 - the series are what they are
    """Return one flat object: errors and coverage per series, and the time it took."""
    began = time.process_time()
    result: dict[str, object] = {
        "arrivals": [
            row
            for storms in (False, True)
            for row in _arrivals(storms=storms, rng=np.random.default_rng(11))
        ],
        "bins": [
            _bins("simulated city", _city_bins(40, 25, np.random.default_rng(5)), 8),
            _bins("filled by people", people_fill(60, 40, np.random.default_rng(8)), 14),
        ],
        "parking": _parking(40, 12, np.random.default_rng(3)),
    }
    result["cpu_s"] = round(time.process_time() - began, 1)
    return result


def readings(kind: str, keys: NDArray[np.int64], ts: int, **measures: Floats) -> Columns:
    """Return one reading of each key at one time, all of one area."""
    n = len(keys)
    times = np.full(n, ts, np.int64)
    nothing = np.full(n, np.nan)
    columns = {name: measures.get(name, nothing) for name in KINDS[kind].measure_names}
    return Columns(keys, times, np.zeros(n, np.int32), times, columns)


def _arrivals(*, storms: bool, rng: np.random.Generator) -> list[dict[str, object]]:
    rates = np.array(_RATES) * rng.gamma(4.0, 0.25, (_AREAS, len(_RATES)))
    simulated = simulate_arrivals(rates, _WEEKS, rng, storms=storms)
    model = ArrivalModel(_AREAS, len(_RATES))
    inside, error = [], []
    for hour, came in enumerate(simulated.counts):
        now = START_MS + hour * HOUR_MS
        model.advance(now, 0)
        end = hour + HOURS_AHEAD
        if hour >= _FIRST_WEEKS * 168 and end <= len(simulated.counts):
            made = model.expect(now, 0)
            happened = np.moveaxis(simulated.counts[hour:end], 0, 2)
            inside.append((happened >= made.low) & (happened <= made.high))
            error.append(np.abs(made.mean - np.moveaxis(simulated.mean[hour:end], 0, 2)))
        model.now += came
    covered, missed = np.mean(inside, axis=(0, 1)), np.mean(error, axis=(0, 1))
    return [
        {
            "series": "with storms" if storms else "steady",
            "per_h": rate,
            "coverage_next_h": round(float(covered[s, 0]), 3),
            "coverage_6th_h": round(float(covered[s, -1]), 3),
            "rate_error_next_h": round(float(missed[s, 0]) / rate, 3),
        }
        for s, rate in enumerate(_RATES)
    ]


def _city_bins(containers: int, days: int, rng: np.random.Generator) -> Containers:
    traits = rng.random((TRAITS, containers))
    times = START_MS + np.arange(days * 96, dtype=np.int64) * STEP_MS
    level = np.stack(
        [measure_channel("waste", traits, np.full(containers, t), rng)[0] for t in times]
    )
    return Containers(times, level, level)


def _bins(series: str, simulated: Containers, first_days: int) -> dict[str, object]:
    keys = np.arange(1, simulated.true.shape[1] + 1, dtype=np.int64)
    forecaster = BinForecaster(City(), full_level=_LIMIT)
    published: list[BinForecast] = []
    for ts, level in zip(simulated.times.tolist(), simulated.measured, strict=True):
        published += forecaster.observe(readings("waste", keys, ts, fillingLevel=level), ["one"])
    after = START_MS + first_days * 24 * HOUR_MS
    errors, inside = judge_bins(published, simulated, _LIMIT, after)
    return {
        "series": series,
        "forecasts": len(errors),
        "median_error_h": round(float(np.median(np.abs(errors))), 2),
        "coverage": round(float(np.mean(inside)), 3),
    }


def judge_bins(
    published: list[BinForecast], simulated: Containers, limit: float, after: int
) -> tuple[list[float], list[bool]]:
    """Return errors [h] of the forecasts made from ``after`` on, and whether the interval held.

    Left out are containers that are full already or were emptied before they were. A step of
    the series is allowed for: between two of them nobody knows when it was.
    """
    errors, inside = [], []
    for forecast in published:
        at = int(np.searchsorted(simulated.times, forecast.at))
        ahead = simulated.true[at:, forecast.sensor_key - 1]
        low, full_at, high = forecast.full_low, forecast.predicted_full_at, forecast.full_high
        if forecast.at < after or ahead[0] >= limit:
            continue
        if low is None or full_at is None or high is None:
            continue
        full, emptied = np.flatnonzero(ahead >= limit), np.flatnonzero(np.diff(ahead) < -0.3)
        if not len(full) or (len(emptied) and emptied[0] < full[0]):
            continue
        happened = int(simulated.times[at + full[0]])
        errors.append((full_at - happened) / HOUR_MS)
        inside.append(low - STEP_MS <= happened <= high + STEP_MS)
    return errors, inside


def _parking(parks: int, days: int, rng: np.random.Generator) -> dict[str, object]:
    parking = list(KINDS).index("parking")
    rows = [(f"p{i}", parking, 0, -1, 0, 60.0, 5.05, 52.05) for i in range(parks)]
    city = City((Area("one", "One", _RING),), (), Sensors.from_rows(rows))
    row = {key: i for i, key in enumerate(city.sensor_keys.tolist())}
    traits, step_ms = rng.random((TRAITS, parks)), 300_000
    forecaster = ParkingForecaster(city)
    free, published = [], []
    for step in range(days * 288):
        ts = START_MS + step * step_ms
        spaces, total = measure_channel("parking", traits, np.full(parks, ts, np.int64), rng)[:2]
        free.append(spaces)
        published += forecaster.observe(
            readings(
                "parking", city.sensor_keys, ts, availableSpotNumber=spaces, totalSpotNumber=total
            )
        )
    errors, persistence, inside = [], [], []
    for forecast in published:
        now, park = (forecast.at - START_MS) // step_ms - 1, row[forecast.sensor_key]
        if now < days // 2 * 288 or now + 6 >= len(free):
            continue
        happened = float(free[now + 6][park])
        errors.append(abs(forecast.expected - happened))
        persistence.append(abs(float(free[now][park]) - happened))
        inside.append(forecast.low <= happened <= forecast.high)
    return {
        "forecasts": len(errors),
        "mean_error_spaces": round(float(np.mean(errors)), 2),
        "persistence_error_spaces": round(float(np.mean(persistence)), 2),
        "coverage": round(float(np.mean(inside)), 3),
    }
