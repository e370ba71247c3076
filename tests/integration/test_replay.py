"""``replay`` of recorded traffic: what arrives over MQTT is the file, to the last bit."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import msgspec
import pyarrow as pa

from civicstream.geojson import read_city
from civicstream.kinds import sensor_key
from civicstream.settings import MqttSettings
from stack.servers.processes import Child, wait_until
from tests.kit.mqtt_reader import MqttReader

FIRST_MS = 1_330_588_800_000  # 2012-03-01T00:00:00-08:00


def replay(mqtt: MqttSettings, folder: Path, *arguments: str) -> None:
    environment = dict(os.environ, CIVICSTREAM_MQTT__PORT=str(mqtt.port))
    command = [sys.executable, "-m", "stack.cli", "replay", *arguments]
    child = Child("replay", command, folder / "replay.log", environment)
    wait_until(lambda: not child.alive(), "the replay's end", timeout_s=60)
    assert child.returncode == 0, child.last_words()


def test_two_hours_of_the_los_angeles_loops_arrive_exactly(
    mosquitto: MqttSettings, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "los_speed.csv"
    with MqttReader(mosquitto) as reader:
        replay(
            mosquitto,
            tmp_path,
            str(source),
            "--unit",
            "mph",
            "--start",
            "2012-03-01T00:00:00-08:00",
            "--rows",
            "0:24",
            "--areas",
            "6",
            "--connections",
            "3",
            "--city-out",
            str(tmp_path / "city.geojson"),
            "--adjacency",
            str(shared_data / "los_adj.csv"),
        )
        reader.wait_for(24 * 207)
    with source.open(newline="") as lines:
        header, *rows = csv.reader(lines)
    got = {}
    for topic, payload in reader.received:
        reading = msgspec.json.decode(payload)
        got[topic.split("/")[4], reading["ts"]] = reading
        assert reading["intensity"] == 100
        assert reading["period"] == 300
    expected = {
        (sensor, FIRST_MS + i * 300_000): float(mph) * 1.609344
        for i, row in enumerate(rows[:24])
        for sensor, mph in zip(header, row, strict=True)
    }
    assert len(reader.received) == len(expected) == 24 * 207
    assert {key: reading["averageVehicleSpeed"] for key, reading in got.items()} == expected
    # Rows go out one after the other, over all connections: no row overtakes another.
    times = [msgspec.json.decode(payload)["ts"] for _, payload in reader.received]
    assert times == sorted(times)

    city = read_city(tmp_path / "city.geojson")
    known = set(city.sensor_keys.tolist())
    assert {sensor_key(*topic.split("/")[2:]) for topic, _ in reader.received} == known
    assert len(city.segments) == 207
    assert len(city.areas) == 6
    assert any(segment.downstream for segment in city.segments)


def test_a_single_sensor_is_replayed_at_the_present(
    mosquitto: MqttSettings, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "nab_occupancy_6005.csv"
    with MqttReader(mosquitto) as reader:
        replay(
            mosquitto,
            tmp_path,
            str(source),
            "--measure",
            "occupancy",
            "--unit",
            "percent",
            "--timezone",
            "America/Chicago",
            "--shift",
            "2026-01-01T00:00:00Z",
            "--rows",
            ":500",
        )
        reader.wait_for(500)
    with source.open(newline="") as lines:
        rows = list(csv.DictReader(lines))[:500]
    readings = [msgspec.json.decode(payload) for _, payload in reader.received]
    assert [r["occupancy"] for r in readings] == [float(row["value"]) * 0.01 for row in rows]
    assert readings[0]["ts"] == 1_767_225_600_000
    assert {topic for topic, _ in reader.received} == {"city/v1/traffic/replay/nab_occupancy_6005"}


def test_a_replay_at_the_present_paces_the_rows_and_never_runs_ahead_of_the_clock(
    mosquitto: MqttSettings, tmp_path: Path
) -> None:
    source = tmp_path / "speeds.csv"
    source.write_text("a,b\n" + "\n".join(f"{60 + i},{50 + i}" for i in range(7)) + "\n")
    truth = tmp_path / "truth"
    replay(
        mosquitto,
        tmp_path,
        str(source),
        "--unit",
        "mph",
        "--start",
        "2012-03-01T00:00:00Z",
        "--interval",
        "60",
        "--speed-up",
        "240",
        "--shift",
        "now",
        "--truth",
        str(truth),
    )
    with pa.ipc.open_stream(truth / "traffic.arrow") as reader:
        rows = reader.read_all().sort_by("ts").to_pylist()
    assert len(rows) == 14
    assert all(row["acked"] and row["sent_at"] >= row["ts"] for row in rows)
    first, last = rows[0], rows[-1]
    assert (last["ts"] - first["ts"]).total_seconds() == 360
    # Six minutes at 240 times real time are a second and a half, never less.
    assert (last["sent_at"] - first["sent_at"]).total_seconds() >= 1.49
