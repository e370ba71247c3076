"""Two recorded hours, from a CSV file through MQTT, Kafka and Faust to rows: the same numbers."""

from __future__ import annotations

import csv
from pathlib import Path

import psycopg
import pytest

from civicstream.settings import KafkaSettings, MqttSettings
from stack.servers.processes import wait_until
from tests.kit.system_runs import PARTS, System

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROWS = 24
KMH_PER_MPH = 1.609344
START = "2012-03-01T00:00:00-08:00"


def recorded_kmh(path: Path) -> dict[tuple[str, int], float]:
    """Return (detector, row) -> speed of the first rows of the file."""
    with path.open(newline="") as file:
        reader = csv.reader(file)
        detectors = next(reader)
        return {
            (detector, row): float(value) * KMH_PER_MPH
            for row, values in zip(range(ROWS), reader, strict=False)
            for detector, value in zip(detectors, values, strict=True)
        }


def test_five_minute_means_in_the_database_equal_the_files(
    shared_data: Path,
    mosquitto: MqttSettings,
    kafka: KafkaSettings,
    timescaledb: str,
    tmp_path: Path,
) -> None:
    file = shared_data / "los_speed.csv"
    expected = recorded_kmh(file)
    assert len(expected) == ROWS * 207
    system = System(mosquitto, kafka, timescaledb, tmp_path)
    # The recording is of 2012: readings and results past their retention are refused.
    for what in ("READINGS", "RESULTS"):
        system.environment[f"CIVICSTREAM_DATABASE__{what}_RETENTION_DAYS"] = "10000"
    replay = ["replay", file, "--unit", "mph", "--start", START, "--rows", f"0:{ROWS}"]
    replay += ["--areas", "6", "--speed-up", "max"]
    system.run(*replay, "--city-out", system.city_file, "--plan-only")
    system.run("init")
    try:
        for part in PARTS:
            system.start(part)
        system.run(*replay)
        found: dict[tuple[str, int], float] = {}

        def complete() -> bool:
            found.clear()
            found.update(_five_minute_means(timescaledb))
            return len(found) >= len(expected)

        wait_until(complete, "all 5-minute means", timeout_s=150, every_s=1.0)
    finally:
        for child in system.children.values():
            child.stop()
    assert found.keys() == expected.keys()
    for place, value in expected.items():
        assert found[place] == pytest.approx(value, abs=5e-6), place
    raw = _raw_speeds(timescaledb)
    assert raw.keys() == expected.keys()
    for place, value in expected.items():
        assert raw[place] == pytest.approx(value, abs=1e-9), place


def _five_minute_means(url: str) -> list[tuple[tuple[str, int], float]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT segment, extract(epoch FROM bucket - %s::timestamptz)::int / 300, "
            "time_mean_speed_kmh FROM traffic_5min",
            [START],
        ).fetchall()
    return [((segment.removeprefix("seg-"), row), mean) for segment, row, mean in rows]


def _raw_speeds(url: str) -> dict[tuple[str, int], float]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT s.sensor, extract(epoch FROM r.ts - %s::timestamptz)::int / 300, "
            "r.average_vehicle_speed FROM readings_traffic r JOIN sensors s USING (sensor_key)",
            [START],
        ).fetchall()
    return {(sensor, row): speed for sensor, row, speed in rows}
