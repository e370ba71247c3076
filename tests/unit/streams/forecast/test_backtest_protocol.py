"""The backtest counts as the T-GCN paper does, hides the future and leaves missing cells out."""

from __future__ import annotations

import numpy as np
import pytest

from civicstream.errors import ConfigurationError
from streams.forecast.backtest import Backtest, run_backtest
from tests.kit.forecast_making import DAY, Floats, traffic

ROWS = 3 * DAY


def backtest(
    values: Floats, *, horizons: tuple[int, ...] = (3, 12), train: float = 0.5
) -> Backtest:
    return run_backtest(values, horizons=list(horizons), train=train, interval_minutes=15)


def test_persistence_and_samples_are_those_counted_by_hand() -> None:
    values = traffic(ROWS, 4)
    found = backtest(values)
    start = ROWS // 2
    samples = range(start, ROWS - 24)  # as the paper's program: range(len(test) - 12 - 12)
    assert found.samples == len(samples)
    assert found.train_rows == start
    for score in found.horizons:
        errors = np.array([values[s + 12 : s + 12 + score.steps] - values[s + 11] for s in samples])
        assert score.persistence_rmse == pytest.approx(np.sqrt(np.mean(errors**2)))
        assert score.persistence_mae == pytest.approx(np.mean(np.abs(errors)))
        assert score.minutes == score.steps * 15


def test_the_historical_average_is_the_mean_of_the_time_of_day_in_the_training_rows() -> None:
    values = traffic(4 * DAY, 3)
    found = backtest(values, train=0.75)
    average = values[: 3 * DAY].reshape(3, DAY, 3).mean(axis=0)
    errors = np.array(
        [
            values[s + 12 + k] - average[(s + 12 + k) % DAY]
            for s in range(3 * DAY, 4 * DAY - 24)
            for k in range(3)
        ]
    )
    score = found.horizons[0]
    assert score.historical_average_mae == pytest.approx(np.mean(np.abs(errors)))
    assert score.historical_average_rmse == pytest.approx(np.sqrt(np.mean(errors**2)))


def test_missing_cells_count_in_no_figure() -> None:
    values = traffic(ROWS, 4)
    holes = values.copy()
    at = ROWS // 2 + 40
    holes[at : at + 2, 1] = np.nan
    found, whole = backtest(holes, horizons=(1,)), backtest(values, horizons=(1,))
    start = ROWS // 2
    errors = []
    for now in range(start + 11, ROWS - 2):
        last = holes[now].copy()
        if np.isnan(last[1]):
            last[1] = values[at - 1, 1]
        errors.append(holes[now + 1] - last)
    score = found.horizons[0]
    assert score.persistence_mae == pytest.approx(np.nanmean(np.abs(errors)))
    assert score.persistence_mae != whole.horizons[0].persistence_mae
    assert np.isfinite([score.rmse, score.mae, score.coverage]).all()


def test_a_sensor_that_never_reports_changes_no_figure_but_the_count() -> None:
    values = traffic(ROWS, 4)
    silent = np.column_stack([values, np.full(ROWS, np.nan)])
    found, whole = backtest(silent), backtest(values)
    assert found.sensors == 5
    for a, b in zip(found.horizons, whole.horizons, strict=True):
        assert a.persistence_rmse == pytest.approx(b.persistence_rmse)
        assert a.historical_average_mae == pytest.approx(b.historical_average_mae)
        assert a.rmse == pytest.approx(b.rmse, rel=0.1)


def test_the_same_table_gives_the_same_figures() -> None:
    values = traffic(ROWS, 4)
    assert backtest(values).horizons == backtest(values).horizons


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (40, {}, "the test part, the last 20, needs at least 25 rows"),
        (ROWS, {"train": 1.0}, "above 0 and below 1"),
        (ROWS, {"horizons": (0, 3)}, "steps ahead from 1 on"),
        (ROWS, {"horizons": (91,)}, "may reach 90 steps at most"),
    ],
)
def test_what_cannot_be_tested_is_refused_with_what_is_needed(
    rows: int, options: dict[str, float | tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        backtest(traffic(rows, 2), **options)  # type: ignore[arg-type]


def test_a_test_part_without_values_is_refused() -> None:
    values = traffic(ROWS, 2)
    values[ROWS // 2 :] = np.nan
    with pytest.raises(ConfigurationError, match="no value to compare"):
        backtest(values)


def test_an_interval_that_does_not_divide_the_day_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="interval of 7 minutes"):
        run_backtest(traffic(ROWS, 2), horizons=[3], train=0.5, interval_minutes=7)
