"""Alerts: what a window of 10,000 segments costs under 20 rules, and from result to alert.

The first without a server; the second through a real alert process on the embedded broker: from
the time Kafka has a result to the time an independent consumer has the alert that follows.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
from kafka import KafkaConsumer, TopicPartition

from benchmarks.stage import embedded_kafka, environment, running
from civicstream import kafka_clients
from civicstream.clock import now_ms
from civicstream.events import Alert, TrafficResult, TrafficRow
from civicstream.health import wait_for_report
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from streams.alerts.engine import AlertEngine
from streams.alerts.places import Places
from streams.alerts.rule import RuleSet
from streams.alerts.rule_file import parse_rules

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
        TrafficRow(f"s{i}", 5, 5.0, flow[i], v, v, v, share[i], 9.0, level[i], 1.0, 1.0)
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
        found |= _latency(kafka, Path(folder), seconds)
    return found


def _latency(kafka: KafkaSettings, folder: Path, seconds: float) -> dict[str, object]:
    rules = folder / "rules.toml"
    rules.write_text(_THRESHOLD.format("bench", 20, 30), encoding="utf-8")
    chosen = environment(
        kafka__bootstrap=kafka.bootstrap,
        kafka__partitions=kafka.partitions,
        kafka__session_timeout_ms=kafka.session_timeout_ms,
        alerts__id="bench",
        alerts__rules_file=rules,
    )
    with running("alerts", ["civicstream.cli", "alerts"], folder, chosen):
        while wait_for_report(kafka, "alerts", "bench", timeout_s=60).gauges["standby"]:
            pass
        delays = _measure(kafka, seconds)
    return {
        "alerts": len(delays),
        "delay_p50_ms": round(float(np.percentile(delays, 50))),
        "delay_p99_ms": round(float(np.percentile(delays, 99))),
    }


def _measure(kafka: KafkaSettings, seconds: float) -> list[int]:
    """Send windows of 500 segments; one of them becomes slow or fast again each time."""
    producer = kafka_clients.producer(kafka)
    reader = kafka_clients.consumer(kafka, group_id=None, fetch_max_wait_ms=10)
    alerts = TopicPartition(topic_name(kafka.topic_prefix, "alerts"), 0)
    reader.assign([alerts])
    reader.seek_to_beginning(alerts)
    begin, delays, number = now_ms() - 600_000, [], 0
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            value = msgspec.json.encode(_small(begin + number * 1000, slow=number % 2 == 0))
            topic = topic_name(kafka.topic_prefix, "results.traffic")
            producer.send(topic, value, key=b"north").get(10)
            sent, number = now_ms(), number + 1
            delays.append(_arrival(reader, alerts) - sent)
            time.sleep(0.05)
    finally:
        reader.close()
        producer.close()
    return delays


def _small(end: int, slow: bool) -> TrafficResult:
    rows = [
        TrafficRow(f"s{i}", 5, 5.0, 300.0, v, v, v, 0.1, 9.0, "A", 1.0, 1.0)
        for i in range(500)
        for v in ((5.0,) if slow and i == 0 else (60.0,))
    ]
    return TrafficResult("north", end - 1000, end, "final", end, rows)


def _arrival(reader: KafkaConsumer, alerts: TopicPartition) -> int:
    """Return when the next alert came [ms]."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if records := reader.poll(1_000, max_records=1).get(alerts):
            msgspec.json.decode(records[0].value, type=Alert)
            return now_ms()
    raise TimeoutError("no alert within ten seconds of its result")
