"""Free spaces half an hour ahead, on simulated car parks."""

from __future__ import annotations

import numpy as np

from civicstream.service_events import ParkingForecast
from sensors_sim.channels import TRAITS, measure_channel
from streams.dispatch.demand import ParkingForecaster
from streams.windows.windows import Columns
from tests.kit.demand_making import MIDNIGHT, make_city, make_readings

STEP = 300_000
PARKS = 8


def _series(steps: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    traits = rng.random((TRAITS, PARKS))
    times = MIDNIGHT + np.arange(steps, dtype=np.int64) * STEP
    both = [measure_channel("parking", traits, np.full(PARKS, t), rng) for t in times]
    return np.stack([free for free, _ in both]), both[0][1]


def _feed(
    forecaster: ParkingForecaster, free: np.ndarray, total: np.ndarray, first: int = 0
) -> list[ParkingForecast]:
    keys = make_city(PARKS).sensor_keys
    told = []
    for step, spaces in enumerate(free, first):
        told += forecaster.observe(
            make_readings(
                "parking",
                keys,
                MIDNIGHT + step * STEP,
                availableSpotNumber=spaces,
                totalSpotNumber=total,
            )
        )
    return told


def test_the_forecast_beats_persistence_and_its_interval_holds() -> None:
    free, total = _series(4 * 288)
    city = make_city(PARKS)
    told = _feed(ParkingForecaster(city), free, total)
    row = {key: i for i, key in enumerate(city.sensor_keys.tolist())}
    errors, persistence, inside = [], [], []
    for forecast in told:
        # ``at`` is the end of the step whose reading it follows from.
        now = (forecast.at - MIDNIGHT) // STEP - 1
        if now < 2 * 288 or now + 6 >= len(free):
            continue
        happened = free[now + 6, row[forecast.sensor_key]]
        errors.append(abs(forecast.expected - happened))
        persistence.append(abs(free[now, row[forecast.sensor_key]] - happened))
        inside.append(forecast.low <= happened <= forecast.high)
    assert len(errors) > 1000
    assert np.mean(errors) < 0.6 * np.mean(persistence)
    assert 0.72 <= np.mean(inside) <= 0.9


def test_forecasts_are_free_spaces_between_none_and_all() -> None:
    free, total = _series(288)
    for forecast in _feed(ParkingForecaster(make_city(PARKS)), free, total):
        assert 0 <= forecast.low <= forecast.expected <= forecast.high <= forecast.total
        assert forecast.ahead_min == 30


def test_without_a_total_the_most_ever_free_stands_for_it() -> None:
    free, _ = _series(24)
    told = _feed(ParkingForecaster(make_city(PARKS)), free, np.full(PARKS, np.nan))
    assert told
    for forecast in told:
        assert forecast.total >= forecast.free


def test_late_and_unknown_readings_are_left_out() -> None:
    free, total = _series(40)
    forecaster = ParkingForecaster(make_city(PARKS))
    _feed(forecaster, free, total)
    assert forecaster.changed()
    assert _feed(forecaster, np.zeros((30, PARKS)), total) == []
    unknown = make_readings("parking", [5], MIDNIGHT + 39 * STEP, availableSpotNumber=3)
    assert forecaster.observe(unknown) == []
    assert forecaster.changed() == {}


def test_levels_that_come_twice_set_nothing_back() -> None:
    def reading(minute: int, free: int) -> Columns:
        at = MIDNIGHT + minute * 60_000
        city = make_city(PARKS)
        return make_readings(
            "parking", city.sensor_keys[:1], at, availableSpotNumber=free, totalSpotNumber=50
        )

    once, twice = (ParkingForecaster(make_city(PARKS)) for _ in range(2))
    for forecaster in (once, twice):
        forecaster.observe(reading(1, 40))
        forecaster.observe(reading(2, 30))
    twice.observe(reading(1, 40))
    assert twice.observe(reading(6, 20)) == once.observe(reading(6, 20))
    assert once.changed() == twice.changed()


def test_an_open_step_outlives_a_crash() -> None:
    free, total = _series(289)
    lasting, stopped = (ParkingForecaster(make_city(PARKS)) for _ in range(2))
    stored: dict[str, bytes] = {}
    for step in range(289):
        for forecaster in (lasting, stopped):
            _feed(forecaster, free[step : step + 1], total, step)
        stored |= stopped.changed()
    restored = ParkingForecaster(make_city(PARKS))
    restored.restore(stored)
    told = [_feed(f, free[:2], total, 289) for f in (lasting, restored)]
    assert [(f.sensor_key, f.free) for f in told[0]] == [(f.sensor_key, f.free) for f in told[1]]
    assert told[0]


def test_a_forecaster_of_one_area_takes_only_its_own() -> None:
    assert len(ParkingForecaster(make_city(PARKS), {"west"})) == PARKS
    empty = ParkingForecaster(make_city(PARKS), {"east"})
    free, total = _series(3)
    assert _feed(empty, free, total) == []


def test_a_restored_forecaster_is_nearly_as_good_at_once() -> None:
    free, total = _series(288 + 12)
    lasting, first = ParkingForecaster(make_city(PARKS)), ParkingForecaster(make_city(PARKS))
    past = 288
    _feed(lasting, free[:past], total)
    stored: dict[str, bytes] = {}
    for step in range(past):
        _feed(first, free[step : step + 1], total, step)
        if step > past - 26:
            stored |= first.changed()
    second = ParkingForecaster(make_city(PARKS))
    second.restore(stored)
    # The step that was open at the crash comes again.
    mine = _feed(second, free[past - 1 :], total, past - 1)
    theirs = _feed(lasting, free[past:], total, past)
    ours = {(f.sensor_key, f.at): f.expected for f in mine}
    both = [(ours[f.sensor_key, f.at], f) for f in theirs if (f.sensor_key, f.at) in ours]
    assert len(both) > PARKS
    assert max(abs(value - f.expected) / f.total for value, f in both) < 0.05
