"""Benches are found by name, get their time, and print one JSON object at the end."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from benchmarks import command, registry
from benchmarks.registry import Bench
from civicstream.errors import ConfigurationError, ServerUnavailable
from stack.cli import app

EXAMPLE = Bench("example", "nothing much", 7)
BROKEN = Bench("broken", "a failure", 7)


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, object]]:
    """Two small benches instead of the real ones; returns what the good one was called with."""
    calls: list[dict[str, object]] = []

    def run(*, seconds: float, readings: int | None = None) -> dict[str, object]:
        calls.append({"seconds": seconds, "readings": readings})
        return {"readings_per_s": 1234, "peers": {"other": 5}}

    def fail(*, seconds: float) -> dict[str, object]:
        raise ServerUnavailable("no broker")

    for bench, function in ((EXAMPLE, run), (BROKEN, fail)):
        module = ModuleType(f"benchmarks.{bench.name}")
        module.run = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "BENCHES", {"example": EXAMPLE, "broken": BROKEN})
    monkeypatch.setattr("benchmarks.report.BENCHES", registry.BENCHES)
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results.md")
    return calls


def test_every_figure_is_registered() -> None:
    assert {"streams", "sink", "gateway", "e2e", "memory", "nab"} <= set(registry.BENCHES)
    assert [bench.name for bench in registry.find("all")] == list(registry.BENCHES)


def test_the_page_of_benches_explains_each_of_them_and_no_other() -> None:
    page = Path(command.__file__).with_name("README.md").read_text("utf-8")
    heads = [line for line in page.splitlines() if line.startswith("**")]
    explained = [name for head in heads for name in re.findall(r"\*\*(\w+)\.?\*\*", head)]
    assert sorted(explained) == sorted(registry.BENCHES)


def test_an_unknown_bench_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigurationError, match="'stream'; there are streams, sink"):
        registry.find("stream")


def test_a_bench_gets_its_own_time_unless_another_is_asked_for(
    benches: list[dict[str, object]],
) -> None:
    registry.run(EXAMPLE, seconds=None, readings=None)
    registry.run(EXAMPLE, seconds=2, readings=9_000)
    assert benches == [{"seconds": 7, "readings": None}, {"seconds": 2, "readings": 9_000}]


def test_readings_are_refused_by_a_bench_that_measures_for_a_time(
    benches: list[dict[str, object]],
) -> None:
    with pytest.raises(ConfigurationError, match="give --seconds instead"):
        registry.run(BROKEN, seconds=None, readings=9_000)


def test_the_last_line_is_one_json_object(benches: list[dict[str, object]]) -> None:
    done = CliRunner().invoke(app, ["bench", "example", "--seconds", "1", "--json"])
    assert done.exit_code == 0
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed.pop("cores_busy_before") >= 0
    assert printed == {"readings_per_s": 1234, "peers": {"other": 5}}
    assert "  readings_per_s: 1,234" in done.stdout


def test_without_json_there_are_only_lines_for_people(benches: list[dict[str, object]]) -> None:
    done = CliRunner().invoke(app, ["bench", "example"])
    assert done.exit_code == 0
    assert "{" not in done.stdout


def test_all_goes_on_after_a_failure_and_writes_both_down(
    benches: list[dict[str, object]],
) -> None:
    done = CliRunner().invoke(app, ["bench", "all", "--json"])
    assert done.exit_code == 1
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["example"]["readings_per_s"] == 1234
    assert printed["broken"] == {"error": "ServerUnavailable: no broker"}
    page = command.RESULTS.read_text(encoding="utf-8")
    assert "| readings_per_s | 1,234 |" in page
    assert "| error | ServerUnavailable: no broker |" in page


def test_one_bench_alone_writes_no_page(benches: list[dict[str, object]]) -> None:
    CliRunner().invoke(app, ["bench", "example"])
    assert not command.RESULTS.exists()
