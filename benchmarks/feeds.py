"""``civicstream bench feeds``: 1,000 live clients at 200 updates a second, beside a naive loop.

A Kafka-protocol broker, the feeds process, and clients in processes of their own
(``live_audience.py``), on real sockets. An update is a crew's position: one record on the topic
``units``. Delays run from the time stamp that the record has on Kafka to the client's receipt.
The naive peer (``peers/naive_broadcast.py``) has a queue for each client and encodes each update
for each of them; it gets the same updates from the same broker.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.process_usage import cpu_seconds, peak_mb
from benchmarks.stage import check_alive, embedded_kafka, environment, running
from civicstream.clock import now_ms
from civicstream.kafka.clients import producer
from civicstream.service_events import Unit
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from stack.servers.processes import Child, free_port, port_answers, wait_until

__all__ = ["run"]

_CLIENTS = 1_000
_PROCESSES = 2
_RATE = 200.0
_KEYS = 400
_TIMEOUT_S = 15.0
# The naive loop does not keep up: how far it falls behind grows with the time it is given.
_NAIVE_SHARE = 0.5
_NOWHERE = "postgresql://127.0.0.1:1/none"


@dataclass(frozen=True)
class _Seen:
    """What all clients saw; ``delays_ms`` with how often each occurred."""

    delays_ms: np.ndarray
    counts: np.ndarray
    complete: int
    holes: int
    conflated: int
    server_cpu_s: float
    server_peak_mb: float

    def quantile_s(self, share: float) -> float:
        """Return the delay that ``share`` of all updates to all clients did not exceed [s]."""
        reached = np.searchsorted(np.cumsum(self.counts), share * self.counts.sum())
        return float(self.delays_ms[reached]) / 1000


def run(*, seconds: float) -> dict[str, object]:
    """Return the figures; the feed gets two thirds of ``seconds``, the naive loop a third."""
    feed_s = seconds / (1 + _NAIVE_SHARE)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-feeds-")))
        kafka = stack.enter_context(embedded_kafka(folder / "kafka"))
        ours = _measure(folder, kafka, feed_s, naive=False)
        naive = _measure(folder, kafka, feed_s * _NAIVE_SHARE, naive=True)
    return {
        "clients": _CLIENTS,
        "updates_per_s": _RATE,
        "seconds": round(feed_s, 1),
        "p50_s": round(ours.quantile_s(0.5), 3),
        "p99_s": round(ours.quantile_s(0.99), 3),
        "told_everything": round(ours.complete / _CLIENTS, 4),
        "holes": ours.holes,
        "conflated": ours.conflated,
        "server_cores": round(ours.server_cpu_s / feed_s, 2),
        "server_peak_mb": round(ours.server_peak_mb),
        "naive_p50_s": round(naive.quantile_s(0.5), 3),
        "naive_p99_s": round(naive.quantile_s(0.99), 3),
        "naive_told_everything": round(naive.complete / _CLIENTS, 4),
        "naive_peak_mb": round(naive.server_peak_mb),
    }


def _measure(folder: Path, kafka: KafkaSettings, seconds: float, *, naive: bool) -> _Seen:
    updates = int(seconds * _RATE)
    with ExitStack() as stack:
        port = free_port()
        serve = _naive if naive else _feeds
        server = serve(stack, folder, kafka, port)
        path = "/live" if naive else "/api/v1/live?topics=units"
        audiences = [
            _audience(stack, folder, f"{server.name}-{n}", port, path, updates)
            for n in range(_PROCESSES)
        ]
        for child in audiences:
            child.wait_ready(lambda child=child: "ready" in child.last_words(), 180)  # type: ignore[misc]
        cpu_before = cpu_seconds(server.pid)
        sending = threading.Thread(target=_publish, args=(kafka, updates))
        sending.start()
        try:
            wait_until(
                lambda: not any(child.alive() for child in audiences),
                "every client having every update",
                timeout_s=seconds + _TIMEOUT_S + 60,
                every_s=0.2,
            )
        finally:
            sending.join()
        check_alive(server)
        return _seen(folder, audiences, cpu_seconds(server.pid) - cpu_before, peak_mb(server.pid))


def _feeds(stack: ExitStack, folder: Path, kafka: KafkaSettings, port: int) -> Child:
    # Without a database: nothing of it is on the way of an update.
    settings = environment(
        kafka__bootstrap=kafka.bootstrap,
        kafka__partitions=kafka.partitions,
        feeds__port=port,
        feeds__id="bench",
        feeds__live_lookback_s=1,
        database__url=_NOWHERE,
    )
    child = stack.enter_context(running("feeds", ["stack.cli", "feeds"], folder, settings))
    child.wait_ready(lambda: port_answers(port), 120)
    return child


def _naive(stack: ExitStack, folder: Path, kafka: KafkaSettings, port: int) -> Child:
    topic = topic_name(kafka.topic_prefix, "units")
    arguments = ["benchmarks.peers.naive_broadcast", str(port), kafka.bootstrap, topic]
    child = stack.enter_context(running("naive", arguments, folder, dict(os.environ)))
    child.wait_ready(lambda: port_answers(port), 120)
    return child


def _audience(
    stack: ExitStack, folder: Path, name: str, port: int, path: str, updates: int
) -> Child:
    arguments = ["benchmarks.live_audience", str(port), path, str(_CLIENTS // _PROCESSES)]
    arguments += [str(_KEYS), str(updates), str(_RATE), str(_TIMEOUT_S)]
    arguments.append(str(folder / f"audience-{name}.json"))
    return stack.enter_context(running(f"audience-{name}", arguments, folder))


def _publish(kafka: KafkaSettings, updates: int) -> None:
    """Send the updates evenly; each as soon as its time has come."""
    topic = topic_name(kafka.topic_prefix, "units")
    sender = producer(kafka, metrics_enabled=False)
    try:
        began = time.monotonic()
        for number in range(updates):
            time.sleep(max(0.0, began + number / _RATE - time.monotonic()))
            at = now_ms()
            value = msgspec.json.encode(_unit(number % _KEYS, number // _KEYS, at))
            sender.send(topic, value, key=b"north", timestamp_ms=at)
        sender.flush(timeout=30)
    finally:
        sender.close()


def _unit(key: int, version: int, at: int) -> Unit:
    return Unit(
        id=str(key),
        area="north",
        state="en_route",
        skills=["roads", "signals"],
        lon=13.4 + key / 10_000,
        lat=52.5 + version / 10_000,
        shift_end=at + 3_600_000,
        capacity=1e9,
        load=float(version),
        at=at,
        task=f"case/{key:08x}",
    )


def _seen(folder: Path, audiences: list[Child], cpu_s: float, peak: float) -> _Seen:
    counts: dict[int, int] = {}
    complete = holes = conflated = 0
    for child in audiences:
        result = folder / f"{child.name}.json"
        if not result.exists():
            raise RuntimeError(f"{child.name} has no result:\n{child.last_words()}")
        seen = msgspec.json.decode(result.read_bytes())
        complete, holes = complete + seen["complete"], holes + seen["holes"]
        conflated += seen["conflated"]
        for ms, count in seen["delays"].items():
            counts[int(ms)] = counts.get(int(ms), 0) + count
    delays = np.array(sorted(counts), np.int64)
    return _Seen(
        delays_ms=delays,
        counts=np.array([counts[ms] for ms in delays.tolist()], np.int64),
        complete=complete,
        holes=holes,
        conflated=conflated,
        server_cpu_s=cpu_s,
        server_peak_mb=peak,
    )
