"""A recording of speeds alone, a row every five minutes, goes through every algorithm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from civicstream.events import Incident
from sensors_sim.recordings import read_recording
from sensors_sim.replay_city import city_around, read_neighbours
from streams.incidents import INCIDENT_ALGORITHMS, IncidentDetector
from streams.windows.network import NetworkWindow, RoadNetwork

MINUTE = 60_000
ROWS = 100


@pytest.mark.parametrize(
    ("algorithm", "says"), [("queue_discharge", False), ("california8", False), ("snd", True)]
)
def test_a_recording_of_speeds_neither_breaks_it_nor_proves_what_flow_would_have_to(
    algorithm: str, says: bool, shared_data: Path
) -> None:
    assert algorithm in INCIDENT_ALGORITHMS
    recording = read_recording(
        shared_data / "los_speed.csv", start_ms=1_330_588_800_000, interval_s=300, timezone="UTC"
    ).rows(60, 60 + ROWS)
    sensors = len(recording.sensors)
    neighbours = read_neighbours(shared_data / "los_adj.csv", sensors)
    city = city_around(recording.sensors, "traffic", "la", 4, 300, neighbours)
    detector = IncidentDetector(RoadNetwork(city), algorithm)
    unknown = np.full(sensors, np.nan)
    told: list[Incident] = []
    for ts, mph in zip(recording.ts.tolist(), recording.values, strict=True):
        for minute in range(5):
            start = ts + minute * MINUTE
            window = NetworkWindow(start, start + MINUTE, *[unknown] * 4, np.zeros(sensors))
            if minute == 0:
                speed = np.where(mph > 0, mph * 1.609344, np.nan)
                flow = np.where(mph > 0, 120.0, np.nan)
                window = NetworkWindow(
                    start=start,
                    end=start + MINUTE,
                    flow_veh_h=flow,
                    speed_kmh=speed,
                    occupancy=unknown,
                    density_veh_km_lane=flow / speed,
                    coverage=1.0 * (mph > 0),
                )
            told += detector.step(window, window.end)
    confirmed = [v for v in told if v.state == "confirmed"]
    assert bool(confirmed) == says
    assert (detector.decisions > 0) == (algorithm != "california8")
