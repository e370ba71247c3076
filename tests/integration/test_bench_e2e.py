"""``bench e2e`` on the real stack, briefly: the keys, and delays that can be."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from stack.cli import app
from stack.servers.brokers import find_mosquitto

pytestmark = pytest.mark.slow


def test_a_short_run_holds_a_rate_and_measures_delays() -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    done = CliRunner().invoke(app, ["bench", "e2e", "--seconds", "6", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["probes"] >= 40
    assert result["probes_without_row"] == 0
    assert 0 < result["p50_row_s"] <= result["p99_row_s"] < 30
    assert 0 < result["p50_result_s"] <= result["p99_result_s"] < 60
    # A row needs the gateway's frame to be flushed first; nothing arrives before it was sent.
    assert result["p50_row_s"] > 0.02
    [hold] = result["holds"]
    assert hold["rate"] == 5_000
    assert result["held_readings_per_s"] == (
        hold["published_per_s"] if hold["held"] == "yes" else 0
    )
    assert {"worker", "gateway", "sink", "mosquitto", "kafka", "postgres"} <= set(
        result["cores_used"]
    )
