"""The cell transmission model loses no vehicle and moves shockwaves at the analytic speed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors_sim.cell_transmission import Cells, CellTransmission, wave_speed_kmh

STEP_S = 5.0
STEP_H = STEP_S / 3600


def corridor(n: int, *, lanes: float = 3.0, free: float = 100.0, km: float = 0.15) -> Cells:
    """One road of equal cells without ramps: 2,200 veh/h and 140 veh/km a lane."""
    one = np.ones(n)
    capacity = np.array([2200.0])
    return Cells(
        length_km=km * one,
        lanes=lanes * one,
        free_flow_kmh=free * one,
        capacity_veh_h=2200 * lanes * one,
        wave_kmh=wave_speed_kmh(np.array([free]), capacity, 140.0)[0] * one,
        jam_veh=140 * lanes * km * one,
        exit_share=0 * one,
        priority=0.8 * one,
        last=np.arange(n) == n - 1,
    )


@st.composite
def networks(draw: st.DrawFn) -> tuple[Cells, np.random.Generator]:
    """Several corridors of unlike cells, with ramps."""
    seed = draw(st.integers(0, 2**32 - 1))
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(seed)
    free = rng.uniform(30, 130, n)
    lanes = rng.integers(1, 6, n).astype(float)
    per_lane = np.minimum(rng.uniform(300, 2300, n), 0.49 * 140.0 * free)  # waves slower than cars
    length = free * STEP_H * rng.uniform(1.0, 4.0, n)
    cells = Cells(
        length_km=length,
        lanes=lanes,
        free_flow_kmh=free,
        capacity_veh_h=per_lane * lanes,
        wave_kmh=wave_speed_kmh(free, per_lane, 140.0),
        jam_veh=140.0 * lanes * length,
        exit_share=rng.choice([0.0, 0.12, 0.6], n),
        priority=rng.uniform(0, 1, n),
        last=np.append(rng.random(n - 1) < 0.2, True),
    )
    return cells, rng


@given(networks())
def test_vehicles_are_conserved_and_every_cell_stays_between_empty_and_full(
    network: tuple[Cells, np.random.Generator],
) -> None:
    cells, rng = network
    n = len(cells)
    start = rng.uniform(0, 1, n) * cells.jam_veh
    model = CellTransmission(cells, STEP_S, start)
    wanted = 0.0
    for _ in range(60):
        demand = rng.uniform(0, 4000, n) * (rng.random(n) < 0.3)
        wanted += float(demand.sum()) * STEP_H
        model.step(demand, rng.uniform(0, 1, n))
        assert np.all(model.vehicles >= -1e-9)
        assert np.all(model.vehicles <= cells.jam_veh + 1e-9)
        assert np.all(model.queue >= -1e-9)
        assert np.all(model.speed_kmh <= cells.free_flow_kmh + 1e-9)
        assert np.all(model.flow_veh_h <= cells.capacity_veh_h + 1e-6)
    on_the_road = float(model.vehicles.sum())
    assert on_the_road + model.left == pytest.approx(float(start.sum()) + model.entered)
    assert model.entered + float(model.queue.sum()) == pytest.approx(wanted)


def test_light_traffic_runs_at_free_flow_and_leaves_at_the_rate_it_came() -> None:
    model = CellTransmission(corridor(40), STEP_S)
    demand = np.zeros(40)
    demand[0] = 3000.0
    for _ in range(200):
        model.step(demand, np.ones(40))
    assert model.flow_veh_h == pytest.approx(np.full(40, 3000.0))
    assert model.speed_kmh == pytest.approx(np.full(40, 100.0))
    assert model.density_veh_km == pytest.approx(np.full(40, 30.0))


def test_a_queue_grows_upstream_at_the_speed_of_the_analytic_shockwave() -> None:
    cells = corridor(200)
    inflow, capacity = 4500.0, 6600.0
    model = CellTransmission(cells, STEP_S, np.full(200, inflow / 100 * 0.15))
    demand = np.zeros(200)
    demand[0] = inflow
    factor = np.ones(200)
    factor[190] = 0.4
    wave, jam = float(cells.wave_kmh[0]), 420.0
    queue_flow = capacity * 0.4
    queue_density = jam - queue_flow / wave
    # Rankine-Hugoniot: the jump of flow over the jump of density.
    expected_kmh = (queue_flow - inflow) / (queue_density - inflow / 100)

    def queued_km(steps: int) -> float:
        for _ in range(steps):
            model.step(demand, factor)
        excess = model.vehicles - inflow / 100 * 0.15
        full = (queue_density - inflow / 100) * 0.15
        return float(excess[:191].sum() / full) * 0.15

    first = queued_km(240)
    second = queued_km(240)
    hours = 240 * STEP_H
    assert -(second - first) / hours == pytest.approx(expected_kmh, rel=0.02)
    assert model.density_veh_km[185] == pytest.approx(queue_density, rel=0.01)
    assert model.flow_veh_h[195] == pytest.approx(queue_flow, rel=0.01)


def test_an_incident_slows_what_is_upstream_and_spares_what_is_downstream() -> None:
    model = CellTransmission(corridor(60), STEP_S)
    demand = np.zeros(60)
    demand[0] = 5000.0
    factor = np.ones(60)
    factor[40] = 0.3
    for _ in range(240):
        model.step(demand, factor)
    assert np.all(model.speed_kmh[20:40] < 35)
    assert np.all(model.speed_kmh[42:] > 95)


def test_a_dissolved_queue_leaves_the_road_as_it_was_before() -> None:
    model = CellTransmission(corridor(60), STEP_S)
    demand = np.zeros(60)
    demand[0] = 3000.0
    blocked = np.ones(60)
    blocked[40] = 0.2
    for factor, steps in ((np.ones(60), 120), (blocked, 120), (np.ones(60), 800)):
        for _ in range(steps):
            model.step(demand, factor)
    assert model.speed_kmh == pytest.approx(np.full(60, 100.0))
    assert float(model.queue.sum()) == pytest.approx(0, abs=1e-6)


def test_a_full_road_and_a_ramp_share_the_room_by_priority() -> None:
    cells = corridor(2)
    model = CellTransmission(cells, STEP_S, cells.jam_veh * 0.9)
    before = float(model.vehicles[1])
    demand = np.array([0.0, 1e5])
    model.step(demand, np.ones(2))
    room = (cells.jam_veh[1] - before) * cells.wave_kmh[1] * STEP_H / cells.length_km[1]
    assert model.outflow[0] == pytest.approx(0.8 * room)
    assert model.entered == pytest.approx(0.2 * room)


def test_cells_too_short_for_the_step_are_refused() -> None:
    with pytest.raises(ValueError, match="CFL"):
        CellTransmission(corridor(3, km=0.05), STEP_S)
