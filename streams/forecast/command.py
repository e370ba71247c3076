"""The command ``backtest``; what it runs is imported when it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from civicstream.errors import ConfigurationError

if TYPE_CHECKING:
    from streams.forecast.backtest import Backtest

__all__ = ["backtest"]


def backtest(
    file: Annotated[Path, typer.Argument(help="CSV: a header row of sensor ids, a row per time.")],
    horizons: Annotated[
        str, typer.Option(help="Rows ahead, comma-separated; errors are averaged up to each.")
    ] = "3,6,9,12",
    train: Annotated[float, typer.Option(help="Share of the rows before the test part.")] = 0.8,
    interval_minutes: Annotated[float, typer.Option(help="Minutes between rows.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Hold the forecasts against a recorded table, beside persistence and historical average."""
    # Matrices of some hundred rows gain nothing from threads, and on a busy machine OpenBLAS's wait
    # for each other in a spin: ten times the time was seen. It reads this when numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import msgspec

    from streams.forecast.backtest import run_backtest
    from streams.forecast.wide_csv import read_wide_csv

    steps = _steps(horizons)
    table = read_wide_csv(file)
    found = run_backtest(
        table.values, horizons=steps, train=train, interval_minutes=interval_minutes
    )
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n" if as_json else _table(found))


def _steps(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(
            f"--horizons {text!r}: expected whole numbers of rows, comma-separated, "
            "for example 3,6,9,12"
        ) from None


def _table(found: Backtest) -> str:
    summary = (
        f"{found.rows} rows of {found.sensors} sensors, {found.train_rows} of them before the "
        f"test part; {found.samples} samples; {found.ms_per_step:.2f} ms per step "
        f"({found.cpu_ms_per_step:.2f} ms of processor time)"
    )
    lines = [
        summary,
        "",
        "              forecast      persistence   hist. average  80 % interval",
        "  up to      RMSE    MAE    RMSE    MAE    RMSE    MAE   covers   width",
    ]
    lines += [
        f"{s.minutes:4g} min   {s.rmse:7.3f}{s.mae:7.3f} {s.persistence_rmse:7.3f}"
        f"{s.persistence_mae:7.3f} {s.historical_average_rmse:7.3f}"
        f"{s.historical_average_mae:7.3f}  {s.coverage:6.1%}{s.interval_width:8.2f}"
        for s in found.horizons
    ]
    return "\n".join(lines) + "\n"
