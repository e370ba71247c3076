"""``bench streams``: a real worker and the real peers on a few readings, results checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import streams
from benchmarks.kafka_input import produce_frames
from benchmarks.stage import embedded_kafka
from benchmarks.worker_run import run_worker
from benchmarks.workload import Load, traffic_city
from civicstream.geojson import write_city
from stack.cli import app

pytestmark = pytest.mark.slow


def test_a_short_run_measures_us_and_every_installed_peer() -> None:
    done = CliRunner().invoke(app, ["bench", "streams", "--seconds", "2", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["readings_per_s"] > 1_000
    assert result["readings_per_cpu_s"] > result["readings_per_s"] / 4
    installed = {peer.name for peer in streams.PEERS if streams.is_installed(peer.package)}
    assert "naive_faust" in installed
    assert result["everything_on_share"] > 0
    assert set(result["peers"]) == installed
    rated = [rate for name, rate in result["peers"].items() if name != "naive_faust"]
    if rated:
        expected = result["readings_per_s"] / max(rated)
        assert result["ratio_to_best_peer"] == pytest.approx(expected, rel=0.01)


def test_results_that_are_not_those_of_the_input_give_no_figure(tmp_path: Path) -> None:
    load = Load(traffic_city(200), duplicates=0.1)
    write_city(load.city, tmp_path / "city.geojson")
    with embedded_kafka(tmp_path / "kafka") as kafka:
        produced = produce_frames(kafka, load, 2_000, frame_size=100)
        assert produced.distinct < produced.readings
        # As if the input had held one reading more than it does.
        wrong = replace(produced, distinct=produced.distinct + 1)
        with pytest.raises(RuntimeError, match="not those of its input"):
            run_worker(kafka, wrong, tmp_path / "city.geojson", tmp_path, timeout_s=60)
