"""The forecasts beside offline ridge regressions, on several splits of one recorded table.

``python -m benchmarks.forecast FILE`` prints the table of docs/traffic.md. A split is a pair of
rows: everything before the first is for training, the test part ends before the second. The
regressions are fitted once, on the training rows; so are their profiles of the day.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streams.forecast.backtest import Errors, run_backtest
from streams.forecast.wide_csv import read_wide_csv

__all__ = ["SPLITS", "ridge_errors"]

Floats = NDArray[np.float64]

SPLITS = ((576, 864), (864, 1152), (967, 1400), (1152, 1440), (1289, 1612))
"""Of the recorded week, whose first day is a Thursday: Saturday; Sunday; Sunday to Monday
evening; Monday; Monday noon to Tuesday noon."""

HORIZONS = (3, 6, 9, 12)
_SEEN = _STEPS = 12
_DAY = 288


def ridge_errors(values: Floats, start: int, *, neighbours: int, ridge: float) -> Errors:
    """Return the errors, from row ``start`` on, of ridge regressions fitted on the rows before.

    One per sensor and step ahead: of the last 12 values, the sensor's mean at this time of day
    and at four later ones, and the present values of its most correlated ``neighbours``, all as
    deviations from the sensor's mean. ``neighbours`` < 0 leaves out the times of day too.
    """
    train = values[:start]
    level = train.mean(axis=0)
    x = values - level
    slots = np.arange(len(values)) % _DAY
    day = np.stack([x[:start][slots[:start] == s].mean(axis=0) for s in range(_DAY)])
    like = np.abs(np.corrcoef(train.T)) - 2 * np.eye(values.shape[1])
    nearest = np.argsort(-like, axis=1)[:, : max(neighbours, 0)]

    def inputs(row: int) -> Floats:
        columns: list[Floats] = [np.ones((values.shape[1], 1)), x[row - _SEEN + 1 : row + 1].T / 10]
        if neighbours >= 0:
            times = (row + np.arange(0, _STEPS + 1, 3)) % _DAY
            columns += [day[times].T / 10, x[row][nearest] / 10]
        stacked: Floats = np.hstack(columns)
        return stacked

    def targets(row: int) -> Floats:
        ahead: Floats = x[row + 1 : row + _STEPS + 1].T
        return ahead

    size = inputs(_SEEN).shape[1]
    gram = np.zeros((values.shape[1], size, size))
    cross = np.zeros((values.shape[1], size, _STEPS))
    for row in range(_SEEN - 1, start - _STEPS):
        a = inputs(row)
        gram += a[:, :, None] * a[:, None, :]
        cross += a[:, :, None] * targets(row)[:, None, :]
    weights = np.linalg.solve(gram + ridge * np.eye(size), cross)
    errors = Errors(_STEPS)
    for row in range(start + _SEEN - 1, len(values) - _STEPS - 1):
        errors.add((inputs(row)[:, None, :] @ weights)[:, 0] - targets(row))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    table = read_wide_csv(parser.parse_args().file).values
    names = ("forecast", "persistence", "hist. average", "own ridge", "full ridge")
    print("test rows    up to  " + "".join(f"{name:15}" for name in names) + "covers  CPU ms/step")
    for start, end in SPLITS:
        values = table[:end]
        found = run_backtest(
            values, horizons=list(HORIZONS), train=(start + 0.5) / end, interval_minutes=5
        )
        own = ridge_errors(values, start, neighbours=-1, ridge=3.0)
        full = ridge_errors(values, start, neighbours=4, ridge=3.0)
        for s in found.horizons:
            figures = [
                (s.rmse, s.mae),
                (s.persistence_rmse, s.persistence_mae),
                (s.historical_average_rmse, s.historical_average_mae),
                (own.rmse(s.steps), own.mae(s.steps)),
                (full.rmse(s.steps), full.mae(s.steps)),
            ]
            cells = "  ".join(f"{rmse:6.2f}{mae:6.2f} " for rmse, mae in figures)
            print(
                f"{start:4}..{end:<5} {s.minutes:3g} min {cells}{s.coverage:6.1%}"
                f"  {found.cpu_ms_per_step:5.2f}"
            )


if __name__ == "__main__":
    main()
