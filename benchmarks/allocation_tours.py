"""A week of bin collection: tours over the bins that will be full, beside a fixed round."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from civicstream.city import Sensors
from civicstream.roads import Places, RoadGraph, RoadSpeeds, find_trips
from sensors_sim.city_plan import plan_city
from streams.dispatch.allocation.tours import Bins, Truck, plan_collection

__all__ = ["tours_figures"]

Floats = NDArray[np.float64]

SENSORS, SEED = 2_000, 7
DAYS = 7
_DAY_S, _SHIFT_S = 86_400.0, 8 * 3600.0
_TRUCKS, _CAPACITY = 3, 40.0
_WASTE = Sensors.kind_names.index("waste")
_FORECAST_ERROR = 0.15
"""Of the time until full, as a standard deviation."""


def tours_figures() -> dict[str, object]:
    """Return kilometres and overflowing hours of a week: predicted tours, and every bin daily,
    every second day, or once in the week, a seventh of them each day."""
    graph = RoadGraph(plan_city(SENSORS, SEED))
    sensors = graph.city.sensors
    chosen = np.flatnonzero(sensors.kind == _WASTE)
    lonlat = np.stack([sensors.lon[chosen], sensors.lat[chosen]], axis=1)
    places = Places.joined([graph.snap(lonlat.mean(axis=0)[None]), graph.snap(lonlat)])
    trips = find_trips(RoadSpeeds.free_flow(graph), places, places)
    seconds = trips.seconds
    km = seconds / 3600 * 30.0
    np.fill_diagonal(km, 0.0)
    rng = np.random.default_rng(SEED)
    days_to_full = np.clip(rng.lognormal(np.log(3.0), 0.5, len(chosen)), 1.0, 12.0)
    start = rng.uniform(0, 0.8, len(chosen))
    names = [sensors.ids[i] for i in chosen.tolist()]
    result: dict[str, object] = {"tour_bins": len(names), "tour_days": DAYS}
    for policy, every in (
        ("predicted", 0),
        ("daily_round", 1),
        ("second_day_round", 2),
        ("weekly_round", 7),
    ):
        km_driven, overflow, visits = _week(names, seconds, km, days_to_full, start.copy(), every)
        result[f"tour_{policy}_km"] = round(km_driven)
        result[f"tour_{policy}_overflow_h"] = round(overflow)
        result[f"tour_{policy}_visits"] = visits
    return result


def _is_due(bins: int, day: int, every: int) -> NDArray[np.bool_]:
    """Return which bins a fixed round visits: a short one all on one day, a weekly one in turn."""
    if every < DAYS:
        return np.full(bins, day % every == 0)
    due: NDArray[np.bool_] = np.arange(bins) * every // bins == day % every
    return due


def _week(
    names: list[str], seconds: Floats, km: Floats, days_to_full: Floats, fill: Floats, every: int
) -> tuple[float, float, int]:
    """Return km, bin-hours of overflow and visits; ``every`` 0 goes by prediction."""
    rng = np.random.default_rng(SEED)
    trucks = [Truck(f"truck-{i + 1}", _CAPACITY, _SHIFT_S) for i in range(_TRUCKS)]
    driven, overflow, visits = 0.0, 0.0, 0
    for day in range(DAYS):
        full_in = (1 - fill) * days_to_full * _DAY_S
        forecast = full_in * rng.normal(1, _FORECAST_ERROR, len(names))
        if every:
            forecast = np.where(_is_due(len(names), day, every), 0.0, np.inf)
        bins = Bins(names, forecast, np.minimum(fill, 1.5), seconds, km)
        # The next shift begins a day later and may come to a bin at its end.
        done = plan_collection(bins, trucks, _DAY_S + _SHIFT_S)
        emptied = np.full(len(names), _DAY_S)
        for tour in done.tours:
            emptied[tour.stops] = tour.arrival_s
            visits += len(tour.stops)
        driven += done.km
        overflow += float(np.maximum(np.minimum(emptied, _DAY_S) - full_in.clip(0), 0).sum() / 3600)
        visited = emptied < _DAY_S
        again = np.where(visited, _DAY_S - emptied, _DAY_S) / _DAY_S / days_to_full
        after = np.where(visited, 0.0, fill) + again
        # Emptied early in the day and full again before its end does not happen: a day at least.
        fill = after
    return driven, overflow, visits
