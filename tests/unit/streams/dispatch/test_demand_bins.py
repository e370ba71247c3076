"""When containers will be full: on simulated containers, with noise, jumps and restarts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.demand import judge_bins
from benchmarks.demand_series import Containers, people_fill
from civicstream.city import City
from civicstream.errors import DataError
from civicstream.service_events import BinForecast
from sensors_sim.channels import TRAITS, measure_channel
from streams.dispatch.demand import BinForecaster
from streams.dispatch.demand.crossing import Filling
from streams.dispatch.demand.fill_clock import FillClock
from tests.kit.demand_making import HOUR, MIDNIGHT, make_readings

Floats = NDArray[np.float64]
QUARTER = HOUR // 4


def _feed(
    forecaster: BinForecaster, levels: Floats, start: int = MIDNIGHT, every: int = QUARTER
) -> list[BinForecast]:
    """Give levels [times, bins] to the forecaster; return all that it tells."""
    keys = np.arange(1, levels.shape[1] + 1)
    told = []
    for step, level in enumerate(levels):
        readings = make_readings("waste", keys, start + step * every, fillingLevel=level)
        told += forecaster.observe(readings, ["west"])
    return told


def _straight(hours: float, per_h: float, start: float = 0.1) -> Floats:
    steps = np.arange(round(hours * 4))
    return np.minimum(start + steps[:, None] * per_h / 4, 1.0)


def test_an_even_filling_is_predicted_to_the_hour() -> None:
    told = _feed(BinForecaster(City()), _straight(40, 0.01))
    newest = told[-1]
    assert newest.fill_per_h == pytest.approx(0.01, rel=0.03)
    full = MIDNIGHT + 80 * HOUR
    assert newest.predicted_full_at == pytest.approx(full, abs=HOUR)
    assert newest.predicted_full_at is not None
    assert newest.full_low is not None
    assert newest.full_high is not None
    assert newest.full_low < newest.predicted_full_at < newest.full_high


def test_an_emptying_is_seen_and_the_rate_is_kept() -> None:
    before, after = _straight(60, 0.01), _straight(3, 0.01, start=0.0)
    told = _feed(BinForecaster(City()), np.concatenate([before, after]))
    newest = told[-1]
    assert newest.emptied_at == MIDNIGHT + 60 * HOUR
    assert newest.level < 0.05
    assert newest.predicted_full_at == pytest.approx(MIDNIGHT + 150 * HOUR, abs=4 * HOUR)


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_a_single_wrong_reading_changes_nothing(wrong: float) -> None:
    levels = _straight(40, 0.01)
    spoiled = levels.copy()
    spoiled[100] = wrong
    clean, noisy = BinForecaster(City()), BinForecaster(City())
    expected, told = _feed(clean, levels)[-1], _feed(noisy, spoiled)[-1]
    assert told.emptied_at is None
    assert told.level == pytest.approx(expected.level, abs=0.01)
    assert told.fill_per_h == pytest.approx(expected.fill_per_h, rel=0.05)


def test_a_wrong_reading_sent_twice_does_not_confirm_itself() -> None:
    forecaster = BinForecaster(City())
    _feed(forecaster, _straight(40, 0.01))
    at = MIDNIGHT + 40 * HOUR
    for _ in range(3):
        forecaster.observe(make_readings("waste", [1], at, fillingLevel=0.0), ["west"])
    right = make_readings("waste", [1], at + 6 * HOUR, fillingLevel=0.56)
    (told,) = forecaster.observe(right, ["west"])
    assert told.emptied_at is None
    assert told.level > 0.5


def test_a_full_container_is_full_now_and_one_that_does_not_fill_never() -> None:
    levels = np.concatenate([_straight(90, 0.01), np.full((360, 1), 0.2)], axis=1)
    told = _feed(BinForecaster(City()), levels)
    full = [t for t in told if t.sensor_key == 1][-1]
    still = [t for t in told if t.sensor_key == 2][-1]
    assert full.predicted_full_at is not None
    assert full.predicted_full_at <= full.at
    assert still.predicted_full_at is None or still.predicted_full_at > full.at + 10 * 24 * HOUR


def test_a_container_that_keeps_to_its_forecasts_earns_a_narrower_interval() -> None:
    """Both fill at the same pace, one evenly, the other in lumps of a tenth."""
    even = _straight(160, 0.005)[:, 0]
    lumps = np.floor(even / 0.1) * 0.1
    forecaster = BinForecaster(City())
    _feed(forecaster, np.stack([even, lumps], axis=1))
    steady, lumpy = forecaster._rows.state["scale2"]
    assert steady < 0.6
    assert lumpy > 2 * steady
    filling = Filling.of(forecaster._rows.state, np.zeros(1, np.intp), "", np.sqrt([steady]))
    unscaled = Filling.of(forecaster._rows.state, np.zeros(1, np.intp), "", np.ones(1))
    assert filling.deviation(np.array([9.0])) < 0.8 * unscaled.deviation(np.array([9.0]))


def test_news_are_few() -> None:
    told = _feed(BinForecaster(City()), _straight(48, 0.01))
    assert len(told) < 192 / 4


def test_the_simulated_containers_are_full_when_predicted() -> None:
    """sensors_sim fills evenly and empties; a forecast at any time must hold to its interval."""
    rng = np.random.default_rng(5)
    bins, days = 30, 11
    traits = rng.random((TRAITS, bins))
    times = MIDNIGHT + np.arange(days * 96, dtype=np.int64) * QUARTER
    levels = np.stack([measure_channel("waste", traits, np.full(bins, t), rng)[0] for t in times])
    forecaster = BinForecaster(City(), full_level=0.7)
    told = _feed(forecaster, levels)
    bins_of_city = Containers(times, levels, levels)
    errors_h, inside = judge_bins(told, bins_of_city, 0.7, MIDNIGHT + 4 * 24 * HOUR)
    assert len(errors_h) > 100
    assert np.median(np.abs(errors_h)) < 0.5
    assert np.mean(inside) >= 0.8


def test_the_interval_holds_for_containers_that_people_fill() -> None:
    people = people_fill(40, 22, np.random.default_rng(8))
    told = _feed(BinForecaster(City(), full_level=0.7), people.measured)
    _, inside = judge_bins(told, people, 0.7, MIDNIGHT + 12 * 24 * HOUR)
    assert len(inside) > 200
    assert 0.74 <= np.mean(inside) <= 0.94


def test_the_fill_clock_learns_when_people_throw_things_away() -> None:
    measured = people_fill(30, 15, np.random.default_rng(8)).measured
    forecaster = BinForecaster(City())
    _feed(forecaster, measured)
    shape = forecaster._clock.shape.values[0, :24]
    assert abs(int(shape.argmax()) - 13) <= 1
    assert shape[2] < 0.5
    assert shape[13] > 1.5


def test_the_fill_clock_and_back_is_the_same_time() -> None:
    clock = FillClock()
    clock.shape.came[0] = np.arange(48.0)
    clock.shape.flat[0] = 20.0
    clock.shape.refresh()
    times = MIDNIGHT + np.linspace(0, 3 * 168 * HOUR, 1000)
    assert clock.when(clock.show(times)) == pytest.approx(times, abs=1.0)
    assert np.all(np.diff(clock.show(times)) > 0)
    week = clock.show(times[:1] + 168 * HOUR) - clock.show(times[:1])
    assert week == pytest.approx(168)


def test_a_restored_forecaster_goes_on_exactly() -> None:
    measured = people_fill(12, 4, np.random.default_rng(3)).measured
    lasting, first = BinForecaster(City()), BinForecaster(City())
    half = len(measured) // 2
    later = MIDNIGHT + half * QUARTER
    _feed(lasting, measured[:half])
    stored: dict[str, bytes] = {}
    for step in range(half):
        _feed(first, measured[step : step + 1], MIDNIGHT + step * QUARTER)
        stored |= first.changed()
    second = BinForecaster(City())
    second.restore(stored)
    assert _feed(second, measured[half:], later) == _feed(lasting, measured[half:], later)
    assert len(second) == 12


def test_old_and_repeated_readings_change_nothing() -> None:
    forecaster = BinForecaster(City())
    _feed(forecaster, _straight(10, 0.01))
    forecaster.changed()
    assert _feed(forecaster, _straight(10, 0.02)) == []
    assert forecaster.changed() == {}


def test_what_is_no_state_is_named() -> None:
    for items in ({"bins/clock": b"x"}, {"dragon": b""}, {"bins/area/w": b"x"}):
        with pytest.raises(DataError, match="state"):
            BinForecaster(City()).restore(items)
    with pytest.raises(ValueError, match="full_level"):
        BinForecaster(City(), full_level=90)
