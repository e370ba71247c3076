"""The demo's first incident is found within minutes, whatever the city."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain

import pytest

from benchmarks.incident_days import network_window
from civicstream.kinds import KINDS
from sensors_sim.city_plan import plan_city
from sensors_sim.messages import Messages
from sensors_sim.simulation import Simulation, SimulationPlan, history_blocks
from streams.incidents import IncidentDetector
from streams.windows.network import RoadNetwork
from streams.windows.traffic import SegmentTable
from streams.windows.windows import Columns

MINUTE = 60_000
NAMES = KINDS["traffic"].measure_names


def traffic(plan: SimulationPlan, start_ms: int, minutes: int) -> Iterator[tuple[int, Messages]]:
    """Yield where each stretch of time ends and what the detectors reported in it."""
    city = plan_city(1_000, plan.seed)
    blocks = chain(history_blocks(city, plan, start_ms), Simulation(city, plan, start_ms).blocks())
    for block in blocks:
        if block.end_ms > start_ms + minutes * MINUTE:
            return
        for group in block.groups:
            if group.kind.name == "traffic":
                yield block.end_ms, group


def confirmed_after(plan: SimulationPlan, start_ms: int, minutes: int) -> int | None:
    """Return after how many minutes the first incident is confirmed, None where none is."""
    city = plan_city(1_000, plan.seed)
    detector, table = IncidentDetector(RoadNetwork(city)), SegmentTable(city)
    window = start_ms - round(plan.history_s * 1000)
    parts: list[Columns] = []
    for end_ms, group in traffic(plan, start_ms, minutes):
        if len(group):
            values = dict(zip(NAMES, group.measures[:, :, 0], strict=True))
            area = city.sensors.area[group.sensor]
            ts = group.ts[:, 0]
            parts.append(Columns(city.sensor_keys[group.sensor], ts, area, ts, values))
        if end_ms >= window + MINUTE:
            made = detector.step(network_window(table, Columns.joined(parts), window), end_ms)
            window, parts = window + MINUTE, []
            if end_ms > start_ms and any(i.state == "confirmed" for i in made):
                return (end_ms - start_ms) // MINUTE
    return None


@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize(("hour", "minute", "incidents"), [(7, 45, 4.0), (8, 0, 20.0)])
def test_it_is_confirmed_with_the_third_minute_at_the_latest(
    hour: int, minute: int, incidents: float, seed: int
) -> None:
    start_ms = int(datetime(2026, 11, 27, hour, minute, tzinfo=UTC).timestamp() * 1000)
    plan = SimulationPlan(
        seed=seed, rate=500, incidents_per_hour=incidents, staged_after_s=0, history_s=480
    )
    after = confirmed_after(plan, start_ms, 4)
    assert after is not None
    assert after <= 3


def test_without_what_makes_the_demo_quick_it_takes_longer() -> None:
    start_ms = int(datetime(2026, 11, 29, 10, 0, tzinfo=UTC).timestamp() * 1000)
    plan = SimulationPlan(seed=1, rate=500)
    assert confirmed_after(plan, start_ms, 5) is None
