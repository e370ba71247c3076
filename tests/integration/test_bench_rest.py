"""``bench rest`` on the real stack, briefly: all that is promised is measured, and can be."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from benchmarks.rest import SERVERS
from stack.cli import app
from stack.servers.brokers import find_mosquitto

pytestmark = pytest.mark.slow


def test_a_short_run_measures_cores_and_delays() -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    done = CliRunner().invoke(app, ["bench", "rest", "--seconds", "6", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    parts = {"gateway", "worker", "sink", "alerts", "deliver", "feeds", "up"}
    assert parts | set(SERVERS) <= set(result["cores"])
    ours = sum(value for part, value in result["cores"].items() if part in parts)
    assert result["ours_cores"] == pytest.approx(ours, abs=0.01)
    assert result["ours_cores"] < result["all_cores"]
    assert 0 < result["idle_ours_cores"] < result["ours_cores"]
    assert (result["probes_without_row"], result["units_not_seen"]) == (0, 0)
    assert result["probes"] > 10
    assert result["units"] > 5
    assert 0 < result["p99_row_s"] < 30
    assert 0 < result["p99_live_s"] < 30
