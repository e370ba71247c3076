"""On the recorded freeway speeds: better than persistence and than offline ridge regressions."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.forecast import ridge_errors
from streams.forecast.backtest import Backtest, run_backtest
from streams.forecast.wide_csv import read_wide_csv
from tests.kit.forecast_making import Floats

HORIZONS = [3, 6, 9, 12]


@pytest.fixture(scope="module")
def speeds(shared_data: Path) -> Floats:
    return read_wide_csv(shared_data / "los_speed.csv").values


@pytest.fixture(scope="module")
def found(speeds: Floats) -> Backtest:
    return run_backtest(speeds, horizons=HORIZONS, train=0.8, interval_minutes=5)


def test_errors_are_a_tenth_below_persistence_at_every_horizon(found: Backtest) -> None:
    for score in found.horizons:
        assert score.rmse < 0.9 * score.persistence_rmse
        assert score.mae < 0.9 * score.persistence_mae


def test_errors_are_below_an_offline_ridge_regression_at_every_horizon(
    found: Backtest, speeds: Floats
) -> None:
    for neighbours in (-1, 4):
        ridge = ridge_errors(speeds, found.train_rows, neighbours=neighbours, ridge=3.0)
        for score in found.horizons:
            assert score.rmse < 0.97 * ridge.rmse(score.steps)
            assert score.mae < 0.97 * ridge.mae(score.steps)


def test_intervals_cover_what_they_promise_at_every_horizon(found: Backtest) -> None:
    for score in found.horizons:
        assert 0.75 <= score.coverage <= 0.85
