"""Sensor health on the simulated city: what of the broken is found, how soon, and false alarms.

Each round is a city of its own seed: a day and a bit to learn, then sensors break one by one,
with road incidents all the while. No server: windows as a worker has them, readings that come
after the lateness as late ones.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.health_run import HealthRun, watch_city
from sensors_sim.city_plan import plan_city
from sensors_sim.sensor_faults import SensorFaultPlan
from sensors_sim.simulation import SimulationPlan
from streams.anomaly import AnomalyDetector

__all__ = ["judge_rounds", "run"]

_SENSORS = 600
_HOURS = 54
_LEARNING_H = 28.0
_BREAKING_H = 16.0
"""The last to break still has ten hours to be found."""

_BROKEN_SHARE = 0.12
_STARTS_MS = (1_795_176_000_000, 1_794_916_800_000)
"""By turns Friday noon, so that a weekend follows that the first day did not show, and Tuesday."""

_DAY_MS = 86_400_000
_BY_NATURE = {"parking": {"stuck", "flat"}}
"""Faults that nobody could see in ten hours: a car park may stand still for fourteen."""


def run(*, seconds: float) -> dict[str, object]:
    """Watch one city after another for about ``seconds``, at least one; return one flat object."""
    until = time.monotonic() + seconds
    rounds: list[HealthRun] = []
    took = 0.0
    while not rounds or time.monotonic() + took < until:
        began = time.monotonic()
        rounds.append(_round(seed=len(rounds) + 1))
        took = time.monotonic() - began
    return judge_rounds(rounds)


def _round(seed: int) -> HealthRun:
    plan = SimulationPlan(
        seed=seed,
        incidents_per_hour=4.0,
        sensor_faults=SensorFaultPlan(
            share=_BROKEN_SHARE, after_h=_LEARNING_H, within_h=_BREAKING_H
        ),
    )
    start = _STARTS_MS[seed % len(_STARTS_MS)]
    return watch_city(plan_city(_SENSORS, seed), plan, start, _HOURS * 60, AnomalyDetector)


@dataclass
class _Tally:
    delays_min: dict[str, list[float | None]] = field(default_factory=lambda: defaultdict(list))
    """Of each broken sensor by fault, None for those not found."""
    false: Counter[str] = field(default_factory=Counter)
    sensor_days: float = 0.0
    anomalies: int = 0
    readings: int = 0
    observe_s: float = 0.0


def judge_rounds(rounds: Iterable[HealthRun]) -> dict[str, object]:
    """Return shares found and median delays by fault, and false alarms per 100 sensors and day.

    A fault counts as found by any state but ``ok`` that begins after it. A false alarm is a
    change to such a state of a sensor that is not broken, or not yet.
    """
    tally = _Tally()
    for one in rounds:
        _count(one, tally)
    false = sum(tally.false.values())
    result: dict[str, object] = {
        "sensor_days": round(tally.sensor_days, 1),
        "broken_sensors": sum(len(delays) for delays in tally.delays_min.values()),
        "false_alarms": false,
        "false_alarms_per_100_sensors_per_day": round(100 * false / tally.sensor_days, 3),
        "anomalies_per_100_sensors_per_day": round(100 * tally.anomalies / tally.sensor_days, 3),
        "us_per_reading": round(1e6 * tally.observe_s / max(tally.readings, 1), 2),
    }
    for health, count in sorted(tally.false.items()):
        result[f"false_{health}"] = count
    for fault, delays in sorted(tally.delays_min.items()):
        known = [delay for delay in delays if delay is not None]
        result[f"{fault}_sensors"] = len(delays)
        result[f"{fault}_found"] = round(len(known) / len(delays), 3)
        result[f"{fault}_median_min"] = round(float(np.median(known)), 1) if known else None
    return result


def _count(one: HealthRun, tally: _Tally) -> None:
    keys, sensors = one.city.sensor_keys, one.city.sensors
    broken = {int(keys[b.sensor]): b for b in one.broken}
    first: dict[int, int] = {}
    for change in one.health:
        if change.health == "ok":
            continue
        fault = broken.get(change.sensor_key)
        if fault is not None and change.window_end > fault.start_ms:
            first.setdefault(change.sensor_key, change.window_end)
        else:
            tally.false[change.health] += 1
    for key, fault in broken.items():
        kind = sensors.kind_names[sensors.kind[fault.sensor]]
        if fault.fault not in _BY_NATURE.get(kind, set()):
            found = first.get(key)
            delay = None if found is None else (found - fault.start_ms) / 60_000
            tally.delays_min[fault.fault].append(delay)
    healthy_ms = sum(min(b.start_ms - one.start_ms, one.lasted_ms) for b in broken.values())
    healthy_ms += (one.sensors - len(broken)) * one.lasted_ms
    tally.sensor_days += healthy_ms / _DAY_MS
    tally.anomalies += len({anomaly.id for anomaly in one.anomalies})
    tally.readings += one.readings
    tally.observe_s += one.observe_s
