"""``civicstream backtest`` prints its figures as a table or as JSON, and names what is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from stack import cli
from streams.forecast.wide_csv import read_wide_csv
from tests.kit.forecast_making import DAY, traffic


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["civicstream", "backtest", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "speeds.csv"
    values = traffic(2 * DAY, 3)
    np.savetxt(path, values, delimiter=",", header="a,b,c", comments="", fmt="%.2f")
    return path


def test_json_has_the_figures_of_every_horizon(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--horizons", "3,6", "--train", "0.6", "--interval-minutes", "15", "--json"]
    assert command(monkeypatch, str(table), *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ms_per_step"] > 0
    assert (found["rows"], found["sensors"]) == (192, 3)
    assert [h["minutes"] for h in found["horizons"]] == [45, 90]
    for horizon in found["horizons"]:
        for name in ("rmse", "mae"):
            for model in ("", "persistence_", "historical_average_"):
                assert horizon[model + name] > 0
        assert 0 <= horizon["coverage"] <= 1


def test_without_json_a_table_for_people_is_printed(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, str(table), "--interval-minutes", "15") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("192 rows of 3 sensors, 153 of them before the test part")
    assert [line.split()[:2] for line in printed[4:]] == [
        ["45", "min"],
        ["90", "min"],
        ["135", "min"],
        ["180", "min"],
    ]


def test_empty_cells_are_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "holes.csv"
    path.write_text("a,b\n1,\n NaN ,2.5\n\nna,4\n", encoding="utf-8")
    table = read_wide_csv(path)
    assert table.sensors == ["a", "b"]
    np.testing.assert_array_equal(table.values, [[1, np.nan], [np.nan, 2.5], [np.nan, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected a header row"),
        ("a,a\n1,2\n", "line 1, column 2: sensor 'a' appears twice"),
        ("a,b\n1,2\n3,x\n", "line 3, column 2 (sensor 'b'): 'x' is not a number; write a number"),
        ("a,b\n1,2\n3,inf\n", "line 3, column 2 (sensor 'b'): 'inf' is not a number"),
        ("a,b\n1,2,3\n", "line 2: 3 cells, but the header names 2 sensors; leave the cell"),
        ("a,b\n1,2\n", "1 rows: the test part, the last 1, needs at least 25 rows"),
    ],
)
def test_a_bad_file_is_named_with_line_column_and_remedy(
    text: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text, encoding="utf-8")
    assert command(monkeypatch, str(path)) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, str(tmp_path / "none.csv")) == 2
    assert "none.csv: cannot be read" in capsys.readouterr().err


def test_horizons_that_are_no_numbers_are_refused(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, str(table), "--horizons", "3,soon") == 2
    assert "--horizons '3,soon': expected whole numbers of rows" in capsys.readouterr().err
