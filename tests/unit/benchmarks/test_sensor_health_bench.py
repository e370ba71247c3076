"""The bench of sensor health counts what was found, how soon, and what was told wrongly."""

from __future__ import annotations

from benchmarks.health import judge_rounds
from benchmarks.health_run import HealthRun, watch_city
from civicstream.events import Health, SensorHealth
from sensors_sim.city_plan import plan_city
from sensors_sim.sensor_faults import BrokenSensor, SensorFaultPlan
from sensors_sim.simulation import SimulationPlan

START = 1_795_132_800_000
MINUTE = 60_000
DAY = 1440 * MINUTE


def change(key: int, health: Health, at: int) -> SensorHealth:
    return SensorHealth(
        sensor_key=key,
        kind="traffic",
        area="a",
        sensor="s",
        health=health,
        reason="because",
        since=at,
        before="ok",
        window_end=at,
        computed_at=at,
    )


def test_delays_count_from_the_fault_and_what_comes_before_it_is_a_false_alarm() -> None:
    city = plan_city(50, 1)
    keys = city.sensor_keys.tolist()
    broken = [
        BrokenSensor(0, "stuck", START + 60 * MINUTE, None, 0.0),
        BrokenSensor(1, "stuck", START + 60 * MINUTE, None, 0.0),
        BrokenSensor(2, "silent", START + DAY // 2, None, 0.0),
    ]
    told = [
        change(keys[0], "flat", START + 10 * MINUTE),
        change(keys[0], "ok", START + 20 * MINUTE),
        change(keys[0], "stuck", START + 66 * MINUTE),
        change(keys[2], "silent", START + DAY // 2 + 6 * MINUTE),
        change(keys[9], "drifting", START + 90 * MINUTE),
    ]
    run = HealthRun(
        city=city,
        start_ms=START,
        lasted_ms=DAY,
        broken=broken,
        health=told,
        anomalies=[],
        readings=1000,
        observe_s=0.001,
        sensors=50,
    )
    result = judge_rounds([run])
    assert result["false_alarms"] == 2
    assert (result["false_flat"], result["false_drifting"]) == (1, 1)
    assert result["sensor_days"] == round(47 + 2 / 24 + 0.5, 1)
    assert (result["stuck_sensors"], result["stuck_found"]) == (2, 0.5)
    assert result["stuck_median_min"] == 6.0
    assert (result["silent_found"], result["silent_median_min"]) == (1.0, 6.0)
    assert result["us_per_reading"] == 1.0


def test_an_hour_of_a_small_city_finds_the_silent_and_accuses_nobody_else() -> None:
    city = plan_city(60, 2)
    plan = SimulationPlan(
        seed=2,
        kinds=("traffic",),
        sensor_faults=SensorFaultPlan(share=0.2, faults=("silent",), after_h=0.3, within_h=0.2),
    )
    run = watch_city(city, plan, START + 10 * 60 * MINUTE, 60)
    result = judge_rounds([run])
    assert run.readings > 4000
    assert result["silent_found"] == 1.0
    assert 5 <= float(str(result["silent_median_min"])) <= 8
    assert result["false_alarms"] == 0
