"""The sink and gateway benches measure all they were given, on the servers of today."""

from __future__ import annotations

import pytest

from benchmarks import gateway, sink
from stack.servers.brokers import find_mosquitto
from tests.kit.servers import timescaledb_missing


@pytest.mark.slow
@pytest.mark.skipif(bool(timescaledb_missing()), reason="needs TimescaleDB")
def test_the_sink_bench_writes_every_reading_it_prepared() -> None:
    measured = sink.run(seconds=1, readings=200_000)
    rows, readings = measured["rows"], measured["readings"]
    assert isinstance(rows, int)
    assert isinstance(readings, int)
    assert readings >= 200_000
    assert 0.98 * readings < rows < readings  # 1 in 100 is a repeat
    assert measured["rows_per_s"]


@pytest.mark.slow
@pytest.mark.skipif(find_mosquitto() is None, reason="needs mosquitto")
def test_the_gateway_bench_drains_all_three_subscribers() -> None:
    measured = gateway.run(seconds=1, readings=20_000)
    assert measured["readings"] == 20_000
    assert measured["readings_per_s"]
    assert measured["naive_readings_per_s"]
