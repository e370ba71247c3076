"""The commands city, simulate and replay refuse what cannot work before they reach for a broker."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from civicstream.geojson import from_geojson, read_city
from stack import cli

ROOT = Path(__file__).parents[3]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["civicstream", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_city_writes_a_model_that_reads_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "city.geojson"
    assert command(monkeypatch, "city", "--sensors", "120", "--seed", "9", "-o", str(out)) == 0
    assert "120 sensors, seed 9" in capsys.readouterr().out
    assert len(read_city(out).sensors) == 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["city", "--sensors", "5"], "at least 20 sensors"),
        (["simulate", "--rate", "100000"], "the rate can be 7120 at most"),
        (["simulate", "--kinds", "traffic,smell"], "--kinds smell: no such kind"),
        (["simulate", "--late", "3"], "--late 3 is outside 0..1"),
        (["simulate", "--start", "2026-03-01"], "give a time with its offset"),
        (["simulate", "--start", "yesterday"], "give a time with its offset"),
        (["simulate", "--city", "nowhere.geojson"], "nowhere.geojson: No such file"),
        (["replay", "nowhere.csv"], "nowhere.csv: not a CSV file"),
        (["replay", "FILE"], "--start"),
        (["replay", "FILE", "--start", "2012-03-01T00:00Z", "--speed-up", "fast"], "--speed-up"),
        (["replay", "FILE", "--start", "2012-03-01T00:00Z", "--unit", "knots"], "can convert"),
        (["replay", "FILE", "--start", "2012-03-01T00:00Z", "--rows", "7:9"], "none of them"),
        (["replay", "FILE", "--start", "2012-03-01T00:00Z", "--kind", "smell"], "no such kind"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    recording = tmp_path / "speeds.csv"
    recording.write_text("a,b\n1,2\n3,4\n")
    monkeypatch.chdir(tmp_path)
    given = [str(recording) if a == "FILE" else a for a in arguments]
    assert command(monkeypatch, *given) == 2
    assert message in capsys.readouterr().err


def test_the_city_model_in_the_documentation_is_one() -> None:
    text = (ROOT / "docs" / "city.md").read_text(encoding="utf-8")
    found = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert found
    city = from_geojson(found[1].encode())
    assert (len(city.areas), len(city.segments), len(city.sensors)) == (1, 1, 1)
    assert city.sensors.segment.tolist() == [0]


def test_every_option_in_the_simulators_readme_exists() -> None:

    text = (ROOT / "sensors_sim" / "README.md").read_text(encoding="utf-8")
    commands = cli.command_tree().commands
    known = {
        option
        for name in ("city", "simulate", "replay")
        for parameter in commands[name].params
        for option in parameter.opts
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known
