"""Alerts: what a window of 10,000 segments costs under 20 rules, and from window to webhook.

The first without a server; the second through real alert and delivery processes on the embedded
broker: from the closing of a window to the moment an independent consumer has the alert that
follows, and to the moment a webhook's request arrives.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from alerts.engine.engine import AlertEngine
from alerts.engine.places import Places
from alerts.rules.rule import RuleSet
from alerts.rules.rule_file import parse_rules
from benchmarks.alert_delivery import window_to_webhook
from benchmarks.stage import embedded_kafka
from civicstream.events import TrafficResult, TrafficRow

__all__ = ["run"]

_SEGMENTS = 10_000
_WINDOWS = 60
_WINDOW_MS = 60_000

_THRESHOLD = """
[[rule]]
name = "speed-{0}"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = {1}
clear_above = {2}
severity = "minor"
message = "{{segment}}"
"""
_JAM = """
[[rule]]
name = "jam-{0}"
source = "results.traffic"
field = "level_of_service"
in = ["E", "F"]
for = "{1}m"
severity = "moderate"
message = "{{segment}}"
"""
_CHANGE = """
[[rule]]
name = "drop-{0}"
source = "results.traffic"
field = "flow_veh_h"
change_over = "{1}m"
below = -1900
severity = "minor"
message = "{{segment}}"
"""
_COUNT = """
[[rule]]
name = "count-{0}"
source = "results.traffic"
field = "occupancy"
above = 0.95
at_least = {1}
within = "area"
severity = "severe"
message = "{{area}}"
"""


def _rules() -> RuleSet:
    """Twenty rules: ten thresholds, four durations, three changes, three counts."""
    parts = [_THRESHOLD.format(i, 2.0 + i / 10, 4.0 + i / 10) for i in range(10)]
    parts += [_JAM.format(i, 3 + i) for i in range(4)]
    parts += [_CHANGE.format(i, 5 + 5 * i) for i in range(3)]
    parts += [_COUNT.format(i, 800 + i) for i in range(3)]
    return parse_rules("\n".join(parts))


def _window(number: int, random: np.random.Generator) -> TrafficResult:
    speed = random.uniform(3.0, 120.0, _SEGMENTS).tolist()
    flow = random.uniform(0.0, 2000.0, _SEGMENTS).tolist()
    share = random.uniform(0.0, 1.0, _SEGMENTS).tolist()
    level = random.choice(list("ABCDEF"), _SEGMENTS).tolist()
    rows = [
        TrafficRow(
            segment=f"s{i}",
            readings=5,
            vehicles=5.0,
            flow_veh_h=flow[i],
            time_mean_speed_kmh=v,
            space_mean_speed_kmh=v,
            p85_speed_kmh=v,
            occupancy=share[i],
            density_veh_km_lane=9.0,
            level_of_service=level[i],
            travel_time_index=1.0,
            coverage=1.0,
        )
        for i, v in enumerate(speed)
    ]
    end = 1_800_000_000_000 + number * _WINDOW_MS
    return TrafficResult("north", end - _WINDOW_MS, end, "final", end, rows)


def _engine_cost() -> dict[str, object]:
    """Random values: every window some hundred alerts rise and fall, far more than a city's."""
    random = np.random.default_rng(1)
    engine, versions = AlertEngine(_rules(), Places()), 0
    took, worked = [], []
    for number in range(_WINDOWS):
        window = _window(number, random)
        began, worked_before = time.perf_counter(), time.process_time()
        versions += len(engine.apply("results.traffic", window, window.computed_at))
        versions += len(engine.tick(window.computed_at))
        took.append((time.perf_counter() - began) * 1000)
        worked.append((time.process_time() - worked_before) * 1000)
    return {
        "segments": _SEGMENTS,
        "rules": len(engine.rules),
        "window_p50_ms": round(float(np.percentile(took, 50)), 1),
        "window_p99_ms": round(float(np.percentile(took, 99)), 1),
        "window_cpu_p50_ms": round(float(np.percentile(worked, 50)), 1),
        "window_cpu_p99_ms": round(float(np.percentile(worked, 99)), 1),
        "versions_a_window": round(versions / _WINDOWS),
    }


def run(*, seconds: float) -> dict[str, object]:
    """Return one flat object; the latency is measured for about ``seconds``."""
    found = _engine_cost()
    with (
        tempfile.TemporaryDirectory(prefix="civicstream-bench-") as folder,
        embedded_kafka(Path(folder)) as kafka,
    ):
        return found | window_to_webhook(
            kafka, Path(folder), _THRESHOLD.format("bench", 20, 30), seconds
        )
