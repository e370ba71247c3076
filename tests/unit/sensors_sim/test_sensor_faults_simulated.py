"""Simulated sensors break as planned, and the truth says which and when."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS
from sensors_sim.city_plan import plan_city
from sensors_sim.messages import Messages
from sensors_sim.sensor_faults import SENSOR_FAULTS, BrokenSensor, SensorFaultPlan
from sensors_sim.simulation import Simulation, SimulationPlan
from sensors_sim.truth_events import EventTruth

START = 1_795_132_800_000
HOUR = 3_600_000


@pytest.fixture(scope="module")
def city() -> City:
    return plan_city(400, 4)


def simulated(
    city: City, faults: SensorFaultPlan, minutes: int = 90
) -> tuple[Simulation, list[Messages]]:
    simulation = Simulation(city, SimulationPlan(seed=3, sensor_faults=faults), START)
    groups = []
    for block in simulation.blocks(60_000):
        groups += block.groups
        if block.end_ms >= START + minutes * 60_000:
            return simulation, groups
    raise AssertionError


def of_sensor(groups: list[Messages], sensor: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ts [n] and measures [measures, n] of one sensor."""
    mine = [(g.ts[g.sensor == sensor, 0], g.measures[:, g.sensor == sensor, 0]) for g in groups]
    mine = [(ts, values) for ts, values in mine if len(ts)]
    return np.concatenate([ts for ts, _ in mine]), np.concatenate([v for _, v in mine], axis=1)


@pytest.fixture(scope="module")
def run(city: City) -> tuple[Simulation, list[Messages]]:
    return simulated(city, SensorFaultPlan(share=0.5, after_h=0.5, within_h=0.2))


def broken(
    run: tuple[Simulation, list[Messages]], city: City, fault: str, kind: str
) -> list[BrokenSensor]:
    code = city.sensors.kind_names.index(kind)
    found = [
        b for b in run[0].broken_sensors if b.fault == fault and city.sensors.kind[b.sensor] == code
    ]
    assert found, f"no {kind} sensor is {fault}"
    return found


def test_half_of_the_sensors_break_in_every_way(
    run: tuple[Simulation, list[Messages]],
) -> None:
    chosen = run[0].broken_sensors
    assert 150 < len(chosen) < 250
    assert {b.fault for b in chosen} == set(SENSOR_FAULTS)
    assert all(START + 0.5 * HOUR <= b.start_ms <= START + 0.7 * HOUR for b in chosen)
    assert all(b.end_ms is None for b in chosen)


def test_a_stuck_sensor_repeats_its_last_good_reading(
    run: tuple[Simulation, list[Messages]], city: City
) -> None:
    for b in broken(run, city, "stuck", "traffic"):
        ts, values = of_sensor(run[1], b.sensor)
        after = np.flatnonzero(ts >= b.start_ms)
        held = values[:, after[0] - 1]
        assert all(np.array_equal(values[:, i], held, equal_nan=True) for i in after)
        assert len(np.unique(values[1, : after[0]])) > 5


def test_a_silent_sensor_sends_nothing_any_more(
    run: tuple[Simulation, list[Messages]], city: City
) -> None:
    for b in broken(run, city, "silent", "traffic"):
        ts, _ = of_sensor(run[1], b.sensor)
        assert b.start_ms - 30_000 < ts.max() < b.start_ms


def test_a_slow_clock_stamps_the_past(run: tuple[Simulation, list[Messages]], city: City) -> None:
    for b in broken(run, city, "slow_clock", "traffic"):
        for group in run[1]:
            mine = group.sensor == b.sensor
            lag = (group.due - group.ts[:, -1])[mine]
            true_ts = group.ts[mine, -1] + lag
            assert np.all(lag == np.where(true_ts >= b.start_ms, int(b.size * 1000), 0))


def test_what_is_impossible_contradicts_itself(
    run: tuple[Simulation, list[Messages]], city: City
) -> None:
    for b in broken(run, city, "impossible", "traffic"):
        ts, values = of_sensor(run[1], b.sensor)
        count, speed, occupancy = values[:3, ts >= b.start_ms]
        assert np.all(count >= 5)
        assert np.all(occupancy * speed >= 0.9 * 80)


def test_every_broken_reading_is_still_in_its_declared_range(
    run: tuple[Simulation, list[Messages]],
) -> None:
    for group in run[1]:
        for measure, values in zip(KINDS[group.kind.name].measures, group.measures, strict=True):
            known = values[~np.isnan(values)]
            assert np.all((known >= measure.minimum) & (known <= measure.maximum)), measure.name


def test_sensors_that_are_not_broken_measure_what_they_would_have(
    run: tuple[Simulation, list[Messages]], city: City
) -> None:
    _, healthy = simulated(city, SensorFaultPlan(), minutes=45)
    chosen = {b.sensor for b in run[0].broken_sensors}
    sensor = next(i for i in range(len(city.sensors)) if i not in chosen)
    ts, values = of_sensor(healthy, sensor)
    ts_too, values_too = of_sensor(run[1], sensor)
    np.testing.assert_array_equal(ts, ts_too[: len(ts)])
    np.testing.assert_array_equal(values, values_too[:, : len(ts)])


def test_a_fault_may_pass(city: City) -> None:
    plan = SensorFaultPlan(share=0.5, faults=("silent",), within_h=0.1, last_h=0.25)
    simulation, groups = simulated(city, plan, minutes=60)
    detector = next(b for b in simulation.broken_sensors if city.sensors.kind[b.sensor] == 0)
    assert detector.end_ms == detector.start_ms + HOUR // 4
    ts, _ = of_sensor(groups, detector.sensor)
    assert not np.any((ts >= detector.start_ms) & (ts < detector.end_ms))
    assert np.any(ts >= detector.end_ms)


def test_the_truth_names_the_broken_sensors(
    run: tuple[Simulation, list[Messages]], city: City, tmp_path: Path
) -> None:
    EventTruth(city, tmp_path).breaks(run[0].broken_sensors)
    rows = msgspec.json.decode((tmp_path / "sensor_faults.json").read_bytes())
    assert len(rows) == len(run[0].broken_sensors)
    first, truth = rows[0], run[0].broken_sensors[0]
    assert first["sensor"] == city.sensors.ids[truth.sensor]
    assert first["sensor_key"] == int(city.sensor_keys[truth.sensor])
    assert (first["fault"], first["start_ms"]) == (truth.fault, truth.start_ms)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"share": 3.0}, "--broken-sensors 3 is outside 0..1"),
        ({"share": 0.1, "faults": ("dusty",)}, "--sensor-faults dusty: no such fault"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SensorFaultPlan(**plan)  # type: ignore[arg-type]
