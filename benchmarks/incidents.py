"""``incidents``: the incident detectors side by side on simulated days with known incidents.

The readings of all detectors, a tenth of them broken, go through the same calculation as in the
worker, event time as fast as the processor goes, without servers. Every algorithm sees the same
windows and begins knowing nothing. The seeds here are for judging only; parameters were chosen on
others (``TUNING_SEEDS``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.incident_days import Days, Scenario, simulate
from benchmarks.incident_score import Score, Watch, score
from civicstream.settings import WindowSettings
from streams.incidents import DEFAULT_INCIDENT_ALGORITHM, INCIDENT_ALGORITHMS, IncidentDetector
from streams.windows.network import RoadNetwork

__all__ = ["JUDGING_SEEDS", "TUNING_SEEDS", "run"]

TUNING_SEEDS = (101, 102, 103, 111, 112, 113, 121, 122, 123, 9101)
JUDGING_SEEDS = (5001, 5002, 5003, 5004, 5005)
OTHER_SEED = 5007

_MONDAY = 1_794_787_200_000  # 2026-11-16T00:00:00Z
_DAY_MS = 86_400_000
_DAYS = 3
"""Of each city, from another day of the week each time: weekends are among them."""

_CITY = Scenario("city", 0, sensors=700, days=_DAYS, start_ms=_MONDAY, interval_s=20)
"""420 segments, each with a detector across all lanes that reports every 20 s."""
_OTHER = Scenario("sparse", OTHER_SEED, 1_000, _DAYS, _MONDAY + _DAY_MS, 60, detector_every=2)
"""Detectors by lane that report once a minute, and on freeways at every second segment only."""

_DAY_COSTS_S = 17.0
"""About, on one core; only to choose how many days fit into ``seconds``."""


@dataclass
class _Runner:
    """An algorithm on its way through a scenario."""

    detector: IncidentDetector
    watch: Watch
    seconds: float = 0.0
    slowest_s: float = 0.0


def run(*, seconds: float) -> dict[str, object]:
    """Judge all algorithms; ``seconds`` below the default takes fewer days.

    The figures of the default algorithm are on top as well, where goals look for them.
    """
    scenarios = _scenarios(seconds)
    totals = {name: Score() for name in INCIDENT_ALGORITHMS}
    others = {name: Score() for name in INCIDENT_ALGORITHMS}
    step_ms: dict[str, list[float]] = {name: [] for name in INCIDENT_ALGORITHMS}
    faults: dict[str, int] = {}
    for scenario in scenarios:
        of_scenario = others if scenario.name == _OTHER.name else totals
        days, runners, reporting = _play(scenario)
        for name, runner in runners.items():
            of_scenario[name].add(_score(scenario, days, runner, reporting))
            step_ms[name].append(runner.seconds * 1000 / (scenario.days * _DAY_MS / 60_000))
        for fault, count in days.faults.items():
            faults[fault] = faults.get(fault, 0) + count
    windows = WindowSettings()
    ours = totals[DEFAULT_INCIDENT_ALGORITHM].figures()
    return {
        "algorithm": DEFAULT_INCIDENT_ALGORITHM,
        **ours,
        "published_after_s": windows.lateness_s + windows.out_of_orderness_s,
        "seeds": ", ".join(f"{s.name} {s.seed}" for s in scenarios),
        "segment_days": round(totals[DEFAULT_INCIDENT_ALGORITHM].segment_days),
        "detectors": faults,
        "algorithms": [
            {
                "algorithm": name,
                **total.figures(),
                "step_ms": round(float(np.mean(step_ms[name])), 3),
            }
            for name, total in totals.items()
        ],
        "sparse_city": [{"algorithm": name, **total.figures()} for name, total in others.items()],
    }


def _scenarios(seconds: float) -> list[Scenario]:
    """Return the scenarios that fit: whole ones, or a single day for a quick look."""
    wanted = max(1, round(seconds / _DAY_COSTS_S))
    cities = [
        replace(_CITY, seed=seed, start_ms=_MONDAY + (2 * i % 7) * _DAY_MS)
        for i, seed in enumerate(JUDGING_SEEDS)
    ]
    scenarios = [*cities, _OTHER]
    if wanted >= sum(s.days for s in scenarios):
        return scenarios
    return [replace(s, days=max(1, wanted // 2)) for s in (cities[0], _OTHER)]


def _play(scenario: Scenario) -> tuple[Days, dict[str, _Runner], np.ndarray]:
    """Send a scenario's windows through every algorithm; return also which segments reported."""
    days, windows = simulate(scenario)
    network = RoadNetwork(days.city)
    runners = {
        name: _Runner(IncidentDetector(network, name), Watch(days.city))
        for name in INCIDENT_ALGORITHMS
    }
    reporting = np.zeros(len(network), np.bool_)
    for window in windows:
        reporting |= ~np.isnan(window.flow_veh_h)
        for runner in runners.values():
            began = time.perf_counter()
            versions = runner.detector.step(window, window.end)
            took = time.perf_counter() - began
            runner.seconds += took
            runner.slowest_s = max(runner.slowest_s, took)
            runner.watch.take(versions)
    return days, runners, reporting


def _score(scenario: Scenario, days: Days, runner: _Runner, reporting: np.ndarray) -> Score:
    return score(
        days.city,
        days.truth,
        runner.watch.alarms,
        reporting=reporting,
        decisions=runner.detector.decisions,
        days=scenario.days,
    )
