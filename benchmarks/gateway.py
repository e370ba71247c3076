"""``civicstream bench gateway``: the gateway beside a bare paho callback and a naive bridge.

All three subscribe to one mosquitto with the same paho settings and are then halted (SIGSTOP)
while the broker is filled with the same messages: QoS 1, one reading each. One after the other
they are let go and drain them, so each runs alone and none waits for a publisher.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from benchmarks.kafka_input import create_topic
from benchmarks.mqtt_flood import flood, payloads
from benchmarks.peers.mqtt_subscriber import TOPIC as BRIDGE_TOPIC
from benchmarks.process_usage import cpu_seconds
from benchmarks.stage import LedgerWatch, check_alive, embedded_kafka, environment, running
from civicstream.clock import now_ms
from civicstream.errors import ConfigurationError
from civicstream.frames import FrameHeaders
from civicstream.kafka.clients import consumer
from civicstream.settings import GatewaySettings, KafkaSettings
from civicstream.topics import topic_name
from stack.servers.brokers import find_mosquitto, start_mqtt
from stack.servers.processes import Child, free_port, wait_until

__all__ = ["run"]

_SENSORS = 5_000
_MESSAGES_PER_SECOND = 4_000  # asked for; each of three drains takes a part of the time
_FEWEST = 20_000  # fewer say more about starting than about working
_KEEPALIVE_S = 3_600  # a halted subscriber cannot answer the broker
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class _Drained:
    """One subscriber's work: wall and CPU seconds."""

    wall_s: float
    cpu_s: float


def run(*, seconds: float, readings: int | None = None) -> dict[str, object]:
    """Return the measured values; ``readings`` overrides what follows from ``seconds``."""
    if find_mosquitto() is None:
        raise ConfigurationError("bench gateway needs mosquitto; run tests/servers.sh")
    count = readings or max(_FEWEST, int(seconds * _MESSAGES_PER_SECOND))
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        port = free_port()
        broker = start_mqtt(port, folder / "mosquitto")
        stack.callback(broker.stop)
        kafka = stack.enter_context(embedded_kafka(folder / "kafka"))
        create_topic(kafka, BRIDGE_TOPIC)
        subscribers = {
            "bare": _peer("bare", stack, folder, port, kafka, count),
            "bridge": _peer("bridge", stack, folder, port, kafka, count),
            "gateway": _gateway(stack, folder, port, kafka),
        }
        with _halted(*subscribers.values()):
            # ends in the past: the gateway refuses readings from the future
            start_ms = now_ms() - 1000 * (count // _SENSORS + 10)
            messages = payloads(count, sensors=_SENSORS, start_ms=start_ms)
            flood(port, messages, timeout_s=_TIMEOUT_S)
            drained = {
                name: _drain(subscribers[name], _said_done(subscribers[name]))
                for name in ("bare", "bridge")
            }
            with _frames_watch(kafka) as arrived:
                drained["gateway"] = _drain(
                    subscribers["gateway"], _all_arrived(arrived, count), every_s=0
                )
        for child in subscribers.values():
            check_alive(child)
    return _figures(count, drained)


def _figures(count: int, drained: dict[str, _Drained]) -> dict[str, object]:
    rate = {name: count / d.wall_s for name, d in drained.items()}
    cpu_us = {name: d.cpu_s / count * 1e6 for name, d in drained.items()}
    return {
        "readings": count,
        "readings_per_s": round(rate["gateway"]),
        "cpu_us_per_reading": round(cpu_us["gateway"], 1),
        "bare_readings_per_s": round(rate["bare"]),
        "bare_cpu_us_per_reading": round(cpu_us["bare"], 1),
        "naive_readings_per_s": round(rate["bridge"]),
        "naive_cpu_us_per_reading": round(cpu_us["bridge"], 1),
        "cpu_ratio_to_bare": round(cpu_us["gateway"] / cpu_us["bare"], 3),
        "ratio_to_naive_bridge": round(rate["gateway"] / rate["bridge"], 2),
    }


def _peer(
    name: str, stack: ExitStack, folder: Path, port: int, kafka: KafkaSettings, count: int
) -> Child:
    arguments = ["benchmarks.peers.mqtt_subscriber", name, "--mqtt-port", str(port)]
    arguments += ["--bootstrap", kafka.bootstrap, "--messages", str(count)]
    arguments += ["--in-flight", str(GatewaySettings().max_in_flight)]
    arguments += ["--keepalive", str(_KEEPALIVE_S)]
    child = stack.enter_context(running(name, arguments, folder))
    child.wait_ready(lambda: "ready" in child.last_words())
    return child


def _gateway(stack: ExitStack, folder: Path, port: int, kafka: KafkaSettings) -> Child:
    settings = environment(
        mqtt__port=port,
        mqtt__keepalive_s=_KEEPALIVE_S,
        kafka__bootstrap=kafka.bootstrap,
        gateway__id="bench-gateway",
    )
    child = stack.enter_context(running("gateway", ["stack.cli", "gateway"], folder, settings))
    with LedgerWatch(kafka) as watch:
        child.wait_ready(lambda: any(r.stage == "gateway" for r in watch.reports()))
    return child


@contextmanager
def _halted(*children: Child) -> Iterator[None]:
    """Halt them; at the end let go those that still are, or they could not be stopped."""
    for child in children:
        os.kill(child.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for child in children:
            if child.alive():
                os.kill(child.pid, signal.SIGCONT)


def _drain(child: Child, done_at: Callable[[], float | None], every_s: float = 0.02) -> _Drained:
    """Let the subscriber go until ``done_at`` gives the monotonic time when it was done."""
    cpu_before, started = cpu_seconds(child.pid), time.monotonic()
    os.kill(child.pid, signal.SIGCONT)
    found: list[float] = []

    def done() -> bool:
        check_alive(child)
        at = done_at()
        found.extend(() if at is None else (at,))
        return at is not None

    wait_until(done, f"{child.name} taking all messages", timeout_s=_TIMEOUT_S, every_s=every_s)
    return _Drained(found[0] - started, cpu_seconds(child.pid) - cpu_before)


def _said_done(child: Child) -> Callable[[], float | None]:
    def done_at() -> float | None:
        done = re.search(r"^done ([\d.]+)$", child.last_words(), re.MULTILINE)
        return float(done[1]) if done else None

    return done_at


@contextmanager
def _frames_watch(kafka: KafkaSettings) -> Iterator[KafkaConsumer]:
    """A consumer of all traffic frames from the first on."""
    topic = topic_name(kafka.topic_prefix, "frames.traffic")
    partitions = [TopicPartition(topic, i) for i in range(kafka.partitions)]
    watch = consumer(kafka, group_id=None)
    try:
        watch.assign(partitions)
        watch.seek_to_beginning(*partitions)
        yield watch
    finally:
        watch.close()


def _all_arrived(watch: KafkaConsumer, count: int) -> Callable[[], float | None]:
    """Done when the frames on Kafka hold ``count`` readings."""
    arrived = 0

    def done_at() -> float | None:
        nonlocal arrived
        for records in watch.poll(timeout_ms=100).values():
            arrived += sum(FrameHeaders.from_kafka(r.headers).count for r in records)
        return time.monotonic() if arrived >= count else None

    return done_at
