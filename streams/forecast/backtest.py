"""Forecasts held against a recorded table, by the protocol of the T-GCN paper on Los-loop.

Zhao et al. (2019), "T-GCN: A Temporal Graph Convolutional Network for Traffic Prediction": the
first share of the rows is for training; of the rest, every window of 12 rows seen and 12 rows to
forecast that lies wholly in it is a sample, as the paper's published program takes them (it
leaves the last possible window out). The errors of a horizon are pooled over all samples,
sensors and steps up to it. A cell without a value counts in no figure, nor does a sample of a
sensor without a value at the time of the forecast and in the half hour before.

The forecaster goes through the rows once, in order, as it does live; there is no training run.
It learns from the rows of the test part too, each only once its time is past.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError
from streams.forecast.series import SeriesForecast, SeriesForecaster
from streams.forecast.settings import DAY_S, ForecastSettings

__all__ = ["Backtest", "Errors", "HorizonScore", "run_backtest"]

Floats = NDArray[np.float64]

_ROWS_SEEN = 12


@dataclass(frozen=True)
class HorizonScore:
    """Errors pooled over the steps up to ``steps``, in the table's unit."""

    steps: int
    minutes: float
    rmse: float
    mae: float
    persistence_rmse: float
    persistence_mae: float
    historical_average_rmse: float
    historical_average_mae: float
    coverage: float
    """Share of the values inside the 80 % interval."""
    interval_width: float
    """Mean width of the interval."""


@dataclass(frozen=True)
class Backtest:
    """What ``run_backtest`` found."""

    rows: int
    sensors: int
    train_rows: int
    samples: int
    ms_per_step: float
    """Wall clock to take a row in, learn and forecast, on average over all rows."""
    cpu_ms_per_step: float
    """Processor time of the same, which a busy machine does not lengthen; all threads together."""
    horizons: list[HorizonScore]


class Errors:
    """Sums of errors per step ahead; NaN counts for nothing."""

    def __init__(self, steps: int) -> None:
        self.count = np.zeros(steps)
        self.squared = np.zeros(steps)
        self.absolute = np.zeros(steps)

    def add(self, error: Floats) -> None:
        """Take in errors [sensors, steps]."""
        self.count += (~np.isnan(error)).sum(axis=0)
        self.squared += np.nansum(error**2, axis=0)
        self.absolute += np.nansum(np.abs(error), axis=0)

    def rmse(self, steps: int) -> float:
        """Return the root mean square of all errors up to ``steps`` ahead."""
        return float(np.sqrt(self.squared[:steps].sum() / self.count[:steps].sum()))

    def mae(self, steps: int) -> float:
        """Return the mean of all absolute errors up to ``steps`` ahead."""
        return float(self.absolute[:steps].sum() / self.count[:steps].sum())


class _Tally:
    """The errors of the forecast and of what it is compared with, and its intervals."""

    def __init__(self, steps: int) -> None:
        self.model, self.persistence, self.average = Errors(steps), Errors(steps), Errors(steps)
        self.inside, self.width = np.zeros(steps), np.zeros(steps)
        self.samples = 0

    def add(
        self, made: SeriesForecast, persistence: Floats, average: Floats, truth: Floats
    ) -> None:
        """Take in a sample: ``truth`` [sensors, steps] is what came after it."""
        truth = np.where(np.isnan(made.mean), np.nan, truth)
        self.model.add(made.mean - truth)
        self.persistence.add(persistence - truth)
        self.average.add(average - truth)
        self.inside += ((truth >= made.low) & (truth <= made.high)).sum(axis=0)
        self.width += np.where(np.isnan(truth), 0, made.high - made.low).sum(axis=0)
        self.samples += 1

    def score(self, steps: int, minutes: float) -> HorizonScore:
        count = self.model.count[:steps].sum()
        if not count:
            raise ConfigurationError(
                "the test part has no value to compare a forecast with: all cells are empty"
            )
        return HorizonScore(
            steps=steps,
            minutes=minutes,
            rmse=self.model.rmse(steps),
            mae=self.model.mae(steps),
            persistence_rmse=self.persistence.rmse(steps),
            persistence_mae=self.persistence.mae(steps),
            historical_average_rmse=self.average.rmse(steps),
            historical_average_mae=self.average.mae(steps),
            coverage=float(self.inside[:steps].sum() / count),
            interval_width=float(self.width[:steps].sum() / count),
        )


def run_backtest(
    values: Floats, *, horizons: list[int], train: float, interval_minutes: float
) -> Backtest:
    """Forecast every row of ``values`` [rows, sensors] (NaN: missing) and score the test part.

    ``horizons`` are steps ahead, ``train`` the share of the rows before the test part. Raise
    ConfigurationError where the table is too short or an option out of range.
    """
    rows, sensors = values.shape
    start = _first_test_row(rows, horizons, train)
    reach = max(horizons)
    settings = ForecastSettings(
        step_s=_step_seconds(interval_minutes), leads=tuple(range(1, reach + 1))
    )
    forecaster = SeriesForecaster(sensors, settings)
    average = _historical_average(values[:start], settings.steps_per_day)
    tally = _Tally(reach)
    last = np.full(sensors, np.nan)
    spent = cpu_spent = 0
    for row in range(rows):
        last = np.where(np.isnan(values[row]), last, values[row])
        begun, cpu_begun = time.perf_counter_ns(), time.process_time_ns()
        forecaster.observe(row, values[row])
        made = forecaster.forecast()
        spent += time.perf_counter_ns() - begun
        cpu_spent += time.process_time_ns() - cpu_begun
        if start + _ROWS_SEEN - 1 <= row < rows - reach - 1:
            slots = (row + 1 + np.arange(reach)) % settings.steps_per_day
            truth = values[row + 1 : row + reach + 1].T
            tally.add(made, last[:, None], average[slots].T, truth)
    scores = [tally.score(steps, steps * interval_minutes) for steps in sorted(set(horizons))]
    ms, cpu_ms = spent / rows / 1e6, cpu_spent / rows / 1e6
    return Backtest(
        rows=rows,
        sensors=sensors,
        train_rows=start,
        samples=tally.samples,
        ms_per_step=ms,
        cpu_ms_per_step=cpu_ms,
        horizons=scores,
    )


def _first_test_row(rows: int, horizons: list[int], train: float) -> int:
    if not horizons or min(horizons) < 1:
        raise ConfigurationError(
            f"horizons {horizons}: expected steps ahead from 1 on, for example 3,6,9,12"
        )
    if not 0 < train < 1:
        raise ConfigurationError(
            f"train {train}: expected the share of the rows before the test part, "
            "above 0 and below 1, for example 0.8"
        )
    start = int(rows * train)
    needed = _ROWS_SEEN + max(horizons) + 1
    if rows - start < needed:
        raise ConfigurationError(
            f"{rows} rows: the test part, the last {rows - start}, needs at least {needed} rows "
            f"({_ROWS_SEEN} seen, {max(horizons)} to forecast, and one); give a longer table, a "
            "smaller --train or nearer --horizons"
        )
    return start


def _step_seconds(interval_minutes: float) -> int:
    seconds = round(interval_minutes * 60)
    if seconds < 1 or DAY_S % seconds:
        raise ConfigurationError(
            f"interval of {interval_minutes:g} minutes: a day must be a whole number of rows; "
            "take for example 1, 5 or 15"
        )
    return seconds


def _historical_average(train: Floats, rows_per_day: int) -> Floats:
    """Return the mean per time of day over the training rows: float64[rows_per_day, sensors].

    A time of day that they do not have gets the sensor's mean, a sensor without values NaN.
    """
    total = np.zeros((rows_per_day, train.shape[1]))
    count = np.zeros_like(total)
    for row, values in enumerate(train):
        known = ~np.isnan(values)
        total[row % rows_per_day] += np.where(known, values, 0)
        count[row % rows_per_day] += known
    overall = np.full(train.shape[1], np.nan)
    np.divide(total.sum(axis=0), count.sum(axis=0), out=overall, where=count.sum(axis=0) > 0)
    average = np.broadcast_to(overall, total.shape).copy()
    np.divide(total, count, out=average, where=count > 0)
    return average
