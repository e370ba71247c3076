"""From the closing of a window to its alert on Kafka and at a webhook, through real processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np
from kafka import TopicPartition

from benchmarks.stage import environment, running
from civicstream.clock import now_ms
from civicstream.events import Alert, TrafficResult, TrafficRow
from civicstream.kafka import clients as kafka_clients
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from stack.health import wait_for_report
from stack.servers.processes import wait_until

__all__ = ["window_to_webhook"]

_WINDOWS_PER_S = 10
_SEGMENTS = 500
_WINDOW_MS = 1000 // _WINDOWS_PER_S
_TIMEOUT_S = 30
_RECEIVERS = """
[[receiver]]
name = "bench"
type = "webhook"
url = "http://127.0.0.1:{port}/"
secret = {{env = "BENCH_WEBHOOK_SECRET"}}
on = ["raised", "cleared"]
"""

Arrivals = dict[int, int]
"""End of a window [ms] -> when what followed from it came [ms]."""


class _Post(msgspec.Struct):
    alert: Alert


def window_to_webhook(
    kafka: KafkaSettings, folder: Path, rules: str, seconds: float
) -> dict[str, object]:
    """Return the percentiles [s] of both ways; ``rules`` has to raise below 20 km/h."""
    (folder / "rules.toml").write_text(rules, encoding="utf-8")
    with _web_server() as (port, posted):
        (folder / "receivers.toml").write_text(_RECEIVERS.format(port=port), encoding="utf-8")
        chosen = environment(
            kafka__bootstrap=kafka.bootstrap,
            kafka__partitions=kafka.partitions,
            kafka__session_timeout_ms=kafka.session_timeout_ms,
            alerts__id="bench",
            alerts__rules_file=folder / "rules.toml",
            deliver__id="bench",
            deliver__receivers_file=folder / "receivers.toml",
        )
        secret = {"BENCH_WEBHOOK_SECRET": "only for this measurement"}
        with (
            running("alerts", ["stack.cli", "alerts"], folder, chosen),
            running("deliver", ["stack.cli", "deliver"], folder, chosen | secret),
            _reader(kafka) as published,
        ):
            while wait_for_report(kafka, "alerts", "bench", timeout_s=60).gauges["standby"]:
                pass
            while not wait_for_report(kafka, "deliver", "bench", timeout_s=60).gauges[
                "bench.ready"
            ]:
                pass
            closed = _send(kafka, seconds)
            wait_until(
                lambda: closed.keys() <= posted.keys() & published.keys(),
                "every window's alert at the webhook",
                timeout_s=_TIMEOUT_S,
            )
    return {
        "alerts": len(closed),
        **_percentiles("alert", closed, published),
        **_percentiles("webhook", closed, posted),
    }


def _percentiles(name: str, closed: Arrivals, came: Arrivals) -> dict[str, float]:
    took = [(came[end] - at) / 1000 for end, at in closed.items()]
    return {f"{name}_p{p}_s": round(float(np.percentile(took, p)), 3) for p in (50, 99)}


def _send(kafka: KafkaSettings, seconds: float) -> Arrivals:
    """Publish windows in which one segment is slow and fast by turns; return when each closed."""
    producer = kafka_clients.producer(kafka)
    topic = topic_name(kafka.topic_prefix, "results.traffic")
    closed = Arrivals()
    try:
        for number in range(round(seconds * _WINDOWS_PER_S)):
            at = now_ms()
            window = _window(at, 5.0 if number % 2 == 0 else 60.0)
            producer.send(topic, msgspec.json.encode(window), key=b"north").get(10)
            closed[at] = at
            time.sleep(1 / _WINDOWS_PER_S)
    finally:
        producer.close()
    return closed


def _window(end: int, speed: float) -> TrafficResult:
    rows = [
        TrafficRow(
            segment=f"s{i}",
            readings=5,
            vehicles=5.0,
            flow_veh_h=300.0,
            time_mean_speed_kmh=v,
            space_mean_speed_kmh=v,
            p85_speed_kmh=v,
            occupancy=0.1,
            density_veh_km_lane=9.0,
            level_of_service="A",
            travel_time_index=1.0,
            coverage=1.0,
        )
        for i, v in enumerate([speed] + [60.0] * (_SEGMENTS - 1))
    ]
    return TrafficResult("north", end - _WINDOW_MS, end, "final", end, rows)


@contextmanager
def _reader(kafka: KafkaSettings) -> Iterator[Arrivals]:
    """Note when an independent consumer has each alert."""
    came, done = Arrivals(), threading.Event()
    consumer = kafka_clients.consumer(kafka, group_id=None, fetch_max_wait_ms=10)
    alerts = TopicPartition(topic_name(kafka.topic_prefix, "alerts"), 0)
    consumer.assign([alerts])
    consumer.seek_to_beginning(alerts)

    def read() -> None:
        while not done.is_set():
            for record in consumer.poll(100).get(alerts, ()):
                came[msgspec.json.decode(record.value, type=Alert).updated_at] = now_ms()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield came
    finally:
        done.set()
        thread.join()
        consumer.close()


@contextmanager
def _web_server() -> Iterator[tuple[int, Arrivals]]:
    """Note when each alert is posted; yield the port too."""
    came = Arrivals()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            at = now_ms()
            body = self.rfile.read(int(self.headers["content-length"]))
            came.setdefault(msgspec.json.decode(body, type=_Post).alert.updated_at, at)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1], came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
