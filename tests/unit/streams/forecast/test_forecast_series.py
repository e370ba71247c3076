"""Forecasts of many series: persistence while young, then better; missing values degrade only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.errors import ConfigurationError
from streams.forecast.series import SeriesForecast, SeriesForecaster
from streams.forecast.settings import ForecastSettings
from tests.kit.forecast_making import DAY, QUARTERS, Floats, run, traffic

LEADS = QUARTERS.leads


def rmse(values: Floats, first: int, mean: list[Floats]) -> float:
    """Error of forecasts over all leads and of rows ``first`` on."""
    errors = [
        mean[row][:, i] - values[row + lead]
        for row in range(first, len(values) - LEADS[-1])
        for i, lead in enumerate(LEADS)
    ]
    return float(np.sqrt(np.nanmean(np.square(errors))))


def persistence(values: Floats) -> list[Floats]:
    return [np.repeat(row[:, None], len(LEADS), axis=1) for row in values]


def test_before_any_value_nothing_is_forecast() -> None:
    made = SeriesForecaster(3, ForecastSettings()).forecast()
    assert np.isnan(made.mean).all()
    assert made.mean.shape == (3, len(LEADS))


def test_the_first_forecasts_are_that_everything_stays_as_it_is() -> None:
    values = traffic(LEADS[-1], 10)
    _, made = run(values)
    for row, forecast in zip(values, made, strict=True):
        np.testing.assert_allclose(forecast.mean, np.repeat(row[:, None], 4, axis=1), rtol=1e-6)


def test_a_peak_that_comes_every_day_is_foreseen_after_some_days() -> None:
    values = traffic(6 * DAY, 20)
    _, made = run(values)
    last = 4 * DAY
    ours = rmse(values, last, [m.mean for m in made])
    assert ours < 0.5 * rmse(values, last, persistence(values))


def test_a_queue_that_travels_from_segment_to_segment_is_foreseen_where_it_arrives() -> None:
    # Drops of speed start at the first segment at random times and reach each next one a
    # step later: no series tells its own future, but its neighbour does.
    random = np.random.default_rng(3)
    sensors, rows = 8, 11 * DAY
    at_head = np.zeros(rows)
    for start in random.choice(rows, 40, replace=False):
        at_head[start : start + 4] = 40.0
    values = np.stack([100 - np.roll(at_head, i) for i in range(sensors)], axis=1)
    values += random.normal(0, 0.5, values.shape)
    _, alone = run(values[:, 5:6])
    _, together = run(values)
    last, lead = 7 * DAY, 2

    def error(made: list[SeriesForecast], series: int) -> float:
        found = [
            made[row].mean[series, lead - 1] - values[row + lead, 5]
            for row in range(last, rows - lead)
        ]
        return float(np.sqrt(np.mean(np.square(found))))

    assert error(together, 5) < 0.7 * error(alone, 0)


def test_units_do_not_matter() -> None:
    values = traffic(2 * DAY, 8)
    _, in_km = run(values)
    _, in_miles = run(values / 1.609344)
    np.testing.assert_allclose(in_miles[-1].mean * 1.609344, in_km[-1].mean, rtol=1e-3)


def test_the_future_changes_no_forecast_made_before_it() -> None:
    values = traffic(2 * DAY, 6)
    other = values.copy()
    other[DAY + 40 :] = 5.0
    _, made = run(values)
    _, made_otherwise = run(other)
    for row in range(DAY + 40):
        np.testing.assert_array_equal(made[row].mean, made_otherwise[row].mean)
        np.testing.assert_array_equal(made[row].low, made_otherwise[row].low)


def test_a_fifth_of_the_values_missing_still_leaves_forecasts_better_than_persistence() -> None:
    values = traffic(6 * DAY, 20)
    holes = values.copy()
    holes[np.random.default_rng(2).random(values.shape) < 0.2] = np.nan
    _, made = run(holes)
    last = 4 * DAY
    assert all(np.isfinite(m.mean).all() for m in made[last:])
    ours = rmse(values, last, [m.mean for m in made])
    assert ours < 0.6 * rmse(values, last, persistence(values))


def test_a_series_without_values_for_half_an_hour_gets_no_forecast_until_it_is_back() -> None:
    values = traffic(2 * DAY, 5)
    silent = slice(DAY, DAY + 20)
    values[silent, 2] = np.nan
    _, made = run(values)
    stale = QUARTERS.stale_steps
    assert np.isfinite(made[DAY + stale - 2].mean).all()
    for forecast in made[DAY + stale - 1 : DAY + 20]:
        assert np.isnan(forecast.mean[2]).all()
        assert np.isnan(forecast.low[2]).all()
        assert np.isfinite(np.delete(forecast.mean, 2, axis=0)).all()
    assert np.isfinite(made[DAY + 20].mean).all()


def test_a_missing_value_is_carried_towards_what_is_usual_at_that_time() -> None:
    values = traffic(5 * DAY, 10, noise=0.2)
    onset = 4 * DAY + 22
    values[onset : onset + 5, 0] = np.nan
    forecaster, _ = run(values[: onset + 5])
    truth = traffic(5 * DAY, 10, noise=0.2)[onset + 4, 0]
    carried = forecaster.recent.lags[0, 0]
    assert abs(carried - truth) < abs(values[onset - 1, 0] - truth)


@settings(max_examples=12)
@given(data=st.data())
def test_no_pattern_of_missing_or_wild_values_breaks_a_forecast(data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, 25), "rows")
    cell = st.one_of(st.just(np.nan), st.floats(0, 1e6), st.just(0.0))
    values = np.array([[data.draw(cell) for _ in range(3)] for _ in range(rows)])
    gaps = np.cumsum(
        [data.draw(st.sampled_from([1, 1, 1, 1, 1, 2, 3, 40, 5000])) for _ in range(rows)]
    )
    forecaster = SeriesForecaster(3, ForecastSettings())
    for step, row in zip(gaps.tolist(), values, strict=True):
        forecaster.observe(step, row)
        made = forecaster.forecast()
        fresh = ~np.isnan(row)
        assert np.isfinite(made.mean[fresh]).all()
        known = ~np.isnan(made.mean)
        assert (made.low[known] <= made.mean[known]).all()
        assert (made.mean[known] <= made.high[known]).all()
        assert (made.low[known] >= 0).all()


def test_steps_that_go_back_are_refused() -> None:
    forecaster = SeriesForecaster(1, ForecastSettings())
    forecaster.observe(7, np.array([1.0]))
    with pytest.raises(ValueError, match="step 7 after step 7"):
        forecaster.observe(7, np.array([1.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_s": 7}, "a day must be a whole number of steps"),
        ({"leads": (3, 3)}, "ascending whole numbers of steps"),
        ({"leads": (300,)}, "may reach 282 steps at most"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ForecastSettings(**options)  # type: ignore[arg-type]
