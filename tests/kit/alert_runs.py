"""Run real alert processes on a real broker, feed them results, and read what they published."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from civicstream.clock import now_ms
from civicstream.events import Alert, TrafficResult, TrafficRow
from civicstream.kafka import clients as kafka_clients
from civicstream.settings import ENV_PREFIX, KafkaSettings
from civicstream.topics import topic_name
from stack.servers.processes import Child, wait_until
from tests.kit.worker_runs import read_reports, read_topic

RULES = """
[[rule]]
name = "slow"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 20
clear_above = 30
severity = "moderate"
message = "{segment} in {area} at {value:.0f} km/h"
"""


def start_alerts(kafka: KafkaSettings, folder: Path, name: str = "alerts-0") -> Child:
    """Start an alert process with the rules in ``folder``; it is not waited for."""
    rules = folder / "rules.toml"
    if not rules.exists():
        rules.write_text(RULES, encoding="utf-8")
    chosen = {
        "KAFKA__BOOTSTRAP": kafka.bootstrap,
        "KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA__PARTITIONS": str(kafka.partitions),
        "KAFKA__SESSION_TIMEOUT_MS": str(kafka.session_timeout_ms),
        "ALERTS__ID": name,
        "ALERTS__RULES_FILE": str(rules),
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    environment |= {ENV_PREFIX + key: value for key, value in chosen.items()}
    command = [sys.executable, "-m", "stack.cli", "alerts"]
    return Child(name, command, folder / f"{name}.log", environment)


def wait_at_work(kafka: KafkaSettings, name: str, since_ms: int, timeout_s: float = 60) -> None:
    """Return when the process says that it has the partitions."""

    def at_work() -> bool:
        reports = [r for r in read_reports(kafka, "alerts") if r.instance == name]
        return any(r.at >= since_ms and r.gauges["standby"] == 0 for r in reports)

    wait_until(at_work, f"{name} at work", timeout_s=timeout_s, every_s=0.2)


def published(kafka: KafkaSettings) -> list[Alert]:
    """Return every version on the topic, as often as it is there."""
    return [msgspec.json.decode(r.value, type=Alert) for r in read_topic(kafka, "alerts")]


class Results:
    """A worker's place taken: final results of segments' speeds."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._producer = kafka_clients.producer(kafka)

    def close(self) -> None:
        self._producer.close()

    def send(self, topic: str, event: Any, key: str) -> None:
        """Return when Kafka has it."""
        name = topic_name(self._kafka.topic_prefix, topic)
        value = msgspec.json.encode(event)
        self._producer.send(name, value, key=key.encode()).get(30)

    def window(self, area: str, end: int, speeds: dict[str, float]) -> None:
        rows = [
            TrafficRow(
                segment=segment,
                readings=5,
                vehicles=5.0,
                flow_veh_h=300.0,
                time_mean_speed_kmh=v,
                space_mean_speed_kmh=v,
                p85_speed_kmh=v,
                occupancy=0.1,
                density_veh_km_lane=10.0,
                level_of_service="A",
                travel_time_index=1.0,
                coverage=1.0,
            )
            for segment, v in speeds.items()
        ]
        result = TrafficResult(area, end - 1000, end, "final", now_ms(), rows)
        self.send("results.traffic", result, area)
