"""What makes the demo show something at once: known roads, and an incident on a full one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from civicstream import clock
from civicstream.clock import REAL, Clock
from civicstream.errors import ConfigurationError
from sensors_sim.city_plan import plan_city
from sensors_sim.service import _by_city_clock
from sensors_sim.simulation import Simulation, SimulationPlan, history_blocks

FRIDAY = int(datetime(2026, 11, 27, 7, 45, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000


@pytest.fixture(autouse=True)
def _real_again() -> Iterator[None]:
    yield
    clock.declare(REAL)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_staged_incident_all_but_blocks_one_of_the_fullest_stretches_of_freeway(
    seed: int,
) -> None:
    city = plan_city(1_000, seed)
    plan = SimulationPlan(
        seed=seed, kinds=("traffic",), incidents_per_hour=0, staged_after_s=20, rate=100
    )
    simulation = Simulation(city, plan, FRIDAY)
    for block in simulation.blocks(5_000):
        if block.end_ms > FRIDAY + MINUTE:
            break
    [staged] = simulation.incidents
    assert (staged.start_ms, staged.severity) == (FRIDAY + 20_000, 0.95)
    at = city.segments[staged.segment]
    assert at.road_class == "freeway"
    assert at.position >= 3
    assert at.upstream
    assert at.downstream
    quiet = Simulation(city, SimulationPlan(seed=seed, kinds=("traffic",)), FRIDAY)
    assert quiet._roads is not None
    flow = quiet._roads.state().flow_veh_h / np.array([s.lanes for s in city.segments])
    freeways = np.array([s.road_class == "freeway" for s in city.segments])
    assert flow[staged.segment] > np.quantile(flow[freeways], 0.75)


def test_the_history_is_traffic_at_the_detectors_own_intervals_and_ends_at_the_start() -> None:
    city = plan_city(300, 1)
    plan = SimulationPlan(rate=500, history_s=480, staged_after_s=20)
    blocks = list(history_blocks(city, plan, FRIDAY))
    assert {group.kind.name for block in blocks for group in block.groups} == {"traffic"}
    ts = np.concatenate([group.ts.ravel() for block in blocks for group in block.groups])
    assert FRIDAY - 480_000 <= ts.min() < ts.max() < FRIDAY
    detectors = np.flatnonzero(city.sensors.kind == 0)
    expected = float(np.sum(480 / city.sensors.interval_s[detectors]))
    assert len(ts) == pytest.approx(expected, rel=0.02)
    assert list(history_blocks(city, SimulationPlan(), FRIDAY)) == []


def test_where_a_clock_is_declared_it_says_when_and_how_fast_the_city_lives() -> None:
    assert _by_city_clock(SimulationPlan(speed=7), None).speed == 7
    clock.declare(Clock(FRIDAY + MINUTE, FRIDAY, 60))
    assert _by_city_clock(SimulationPlan(), None).speed == 60
    with pytest.raises(ConfigurationError, match="the settings declare the city's clock"):
        _by_city_clock(SimulationPlan(speed=7), None)
    with pytest.raises(ConfigurationError, match="leave them out"):
        _by_city_clock(SimulationPlan(), FRIDAY)
