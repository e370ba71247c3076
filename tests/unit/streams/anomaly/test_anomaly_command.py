"""``civicstream score``: a line per row, in order, whatever is wrong with some of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from stack.cli import app
from tests.kit.anomaly_series import row, speeds, times


def score(path: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["score", str(path), *options])


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Six days of a sensor with an incident on the last one."""
    at = times(6)
    values = speeds(at)
    values[row(5, 12) : row(5, 13)] = 15
    stamps = np.datetime_as_string(at.astype("M8[ms]"), unit="s")
    body = "".join(f"{s.replace('T', ' ')},{v:.2f}\n" for s, v in zip(stamps, values, strict=True))
    return written(tmp_path / "sensor.csv", "timestamp,value\n" + body)


def test_each_row_becomes_a_json_line_with_its_score(recorded: Path) -> None:
    done = score(recorded, "--timestamp-column", "timestamp", "--value-column", "value",
                 "--json-lines")  # fmt: skip
    assert done.exit_code == 0
    printed = lines(done)
    assert len(printed) == 6 * 144
    assert list(printed[0]) == ["timestamp", "value", "anomaly_score"]
    assert printed[0]["timestamp"] == "2024-03-04 00:00:00"
    scores = [float(str(line["anomaly_score"])) for line in printed]
    assert 0 <= min(scores) <= max(scores) < 1
    assert row(5, 12) <= int(np.argmax(scores)) <= row(5, 13)


def test_the_rows_read_so_far_do_not_depend_on_those_to_come(
    recorded: Path, tmp_path: Path
) -> None:
    whole = score(recorded, "--json-lines").stdout
    text = recorded.read_text(encoding="utf-8").splitlines(keepends=True)
    cut = score(written(tmp_path / "cut.csv", "".join(text[:501])), "--json-lines").stdout
    assert whole.startswith(cut)
    assert cut.count("\n") == 500


def test_without_json_lines_the_most_unusual_rows_are_shown(recorded: Path) -> None:
    shown = score(recorded).stdout.splitlines()
    assert 2 <= len(shown) <= 11
    assert "2024-03-09 12:" in shown[1]


def test_missing_values_are_null_and_no_error(tmp_path: Path) -> None:
    path = written(
        tmp_path / "gaps.csv",
        "timestamp,value\n2024-01-01 00:00:00,5\n2024-01-01 00:05:00,\n2024-01-01 00:10:00,NaN\n",
    )
    done = score(path, "--json-lines")
    assert done.exit_code == 0
    assert [line["anomaly_score"] for line in lines(done)] == [0.0, None, None]
    assert [line["value"] for line in lines(done)] == [5.0, None, None]
    assert "1 rows scored, 2 without a value, 0 rejected" in done.stderr


BAD_ROWS = [
    ("2024-01-01 00:05:00,fast", "value 'fast' is no number; leave it empty"),
    ("2024-01-01 00:05:00,inf", "value 'inf' is no number; leave it empty"),
    ("yesterday,5", "timestamp 'yesterday' is no time; write it as 2015-09-01 13:45:00"),
    ("2024-01-01 00:00:00,5", "'2024-01-01 00:00:00' repeats the time of line 2; sort the file"),
    ("2023-12-31 23:00:00,5", "'2023-12-31 23:00:00' is older than line 2; sort the file"),
    ("2024-01-01 00:05:00", "1 fields where the header has 2; complete the line"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_remedy_and_stops_nothing(
    tmp_path: Path, bad: str, reason: str
) -> None:
    path = written(
        tmp_path / "bad.csv",
        f"timestamp,value\n2024-01-01 00:00:00,4\n{bad}\n2024-01-01 00:10:00,6\n",
    )
    done = score(path, "--json-lines")
    assert done.exit_code == 1
    assert f"bad.csv:3: {'timestamp ' if reason[0] == chr(39) else ''}{reason}" in done.stderr
    assert [line["anomaly_score"] for line in lines(done)] == [0.0, None, 0.0]
    assert "2 rows scored, 0 without a value, 1 rejected" in done.stderr


def test_one_time_stamp_far_in_the_future_does_not_cost_the_rest(tmp_path: Path) -> None:
    body = "".join(f"2024-01-01 {h:02}:00:00,5\n" for h in range(24))
    path = written(tmp_path / "future.csv", "timestamp,value\n2099-01-01 00:00:00,5\n" + body)
    printed = lines(score(path, "--json-lines"))
    assert [line["anomaly_score"] for line in printed] == [0.0, *[None] * 10, *[0.0] * 14]


@pytest.mark.parametrize(
    "stamps",
    [("1420070400", "1420070700"), ("1420070400000", "1420070700000"),
     ("2015-01-01T00:00:00Z", "2015-01-01T00:05:00Z"),
     ("2015-01-01T00:00:00+01:00", "2015-01-01T00:05:00+01:00")],
)  # fmt: skip
def test_times_are_iso_8601_or_epoch(tmp_path: Path, stamps: tuple[str, str]) -> None:
    path = written(tmp_path / "t.csv", "at,speed\n" + "".join(f"{s},5\n" for s in stamps))
    done = score(path, "--timestamp-column", "at", "--value-column", "speed", "--json-lines")
    assert done.exit_code == 0
    assert [line["timestamp"] for line in lines(done)] == list(stamps)


def test_a_file_without_the_column_is_refused_with_those_it_has(tmp_path: Path) -> None:
    path = written(tmp_path / "other.csv", "time,speed\n2024-01-01,5\n")
    done = score(path)
    assert done.exit_code != 0
    assert "has no column 'timestamp', only 'time', 'speed'" in str(done.exception)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = score(tmp_path / "none.csv")
    assert "cannot read" in str(done.exception)
    assert "No such file" in str(done.exception)
