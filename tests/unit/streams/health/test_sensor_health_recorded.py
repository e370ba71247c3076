"""On a recorded week of speeds only what is no measurement is told to be a broken sensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from civicstream.kinds import KINDS, sensor_key
from sensors_sim.recordings import read_recording
from sensors_sim.replay_city import city_around, read_neighbours
from streams.health import SensorWatch
from streams.windows.windows import Columns
from tests.kit.sensor_windows import late_readings

START = 1_330_588_800_000
ROW_MS = 300_000


def watched(data: Path) -> tuple[np.ndarray, list[tuple[int, int, str]]]:
    """Return the speeds [rows, sensors] and (row, sensor, state) of what was told."""
    recording = read_recording(
        data / "los_speed.csv", start_ms=START, interval_s=300, timezone="UTC"
    )
    n = len(recording.sensors)
    near = read_neighbours(data / "los_adj.csv", n)
    city = city_around(recording.sensors, "traffic", "replay", 1, 300.0, near)
    keys = np.array([sensor_key("traffic", "replay", s) for s in recording.sensors], np.int64)
    watch, told = SensorWatch(KINDS["traffic"], city), []
    for row, speed in enumerate(recording.values):
        ts = START + row * ROW_MS
        readings = Columns(
            keys,
            np.full(n, ts, np.int64),
            np.zeros(n, np.int32),
            np.full(n, ts + 300, np.int64),
            {
                "intensity": np.full(n, 100.0),
                "averageVehicleSpeed": speed * 1.609344,
                "occupancy": np.full(n, np.nan),
                "period": np.full(n, 300.0),
                "lane": np.full(n, np.nan),
            },
        )
        found = watch.observe(ts, ts + 60_000, readings, ["replay"], late_readings([]), ts)
        numbers = {int(key): i for i, key in enumerate(keys)}
        told += [(row, numbers[h.sensor_key], h.health) for h in found.health if h.health != "ok"]
    return recording.values, told


def test_every_fault_told_of_a_recorded_week_is_a_stretch_that_was_filled_in(
    shared_data: Path,
) -> None:
    values, told = watched(shared_data)
    assert 5 <= len(told) <= 40
    assert {state for _, _, state in told} == {"stuck", "flat"}
    for row, sensor, state in told:
        steps = np.diff(values[row - 12 : row + 1, sensor])
        # Held, or interpolated in a straight line, over the hour before: nobody measures that.
        assert np.ptp(steps) < 0.02, (row, sensor, state, steps)
