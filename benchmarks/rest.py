"""``rest``: what the whole embedded stack costs while little happens, and how late it is then.

500 readings/s from 1,000 sensors, one a message, with one client of the live feed; then the same
stack without any reading. ``ours_cores`` is what gateway, worker, sink, alerts, deliver, feeds and
the supervisor take of the machine's cores, ``all_cores`` that and Kafka, MQTT broker, database
and simulator; ``idle_ours_cores`` is ours in the second half. ``p99_row_s`` is from the
publication of a reading to its row, ``p99_live_s`` from the publication of a unit's state to the
client of the live feed; both over MQTT.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

import httpx
import msgspec
import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.probes import Probes, probe_areas, with_probes
from benchmarks.process_usage import cpu_seconds, cpu_seconds_by_part
from benchmarks.stack_under_test import (
    StackUnderTest,
    running_stack,
    simulator_counts,
    start_simulator,
)
from civicstream.clock import now_ms
from civicstream.errors import ServerUnavailable
from civicstream.geojson import write_city
from civicstream.settings import FeedsSettings, MqttSettings
from stack.up.part_settings import EMBEDDED_PARTITIONS

__all__ = ["run"]

SENSORS = 1_000
RATE = 500.0
PROBES_PER_S = 5.0
UNITS_PER_S = 2.0
SETTLING_S = 20.0
"""The first seconds compile Kafka and see every sensor for the first time."""
TURN_MS = 50
PATIENCE_S = 15.0
SERVERS = ("kafka", "mosquitto", "postgres", "simulator")


def run(*, seconds: float) -> dict[str, object]:
    """Measure for ``seconds`` with readings and for ``seconds`` without.

    Before each half it waits for as long, at most 20 s, until the start is worked off.
    """
    from sensors_sim.city_plan import plan_city

    city = plan_city(SENSORS, seed=1)
    with tempfile.TemporaryDirectory(prefix="civicstream-bench-") as name:
        folder = Path(name)
        load_file, stack_file = folder / "load.geojson", folder / "stack.geojson"
        areas = probe_areas(city, EMBEDDED_PARTITIONS)
        write_city(city, load_file)
        write_city(with_probes(city, areas), stack_file)
        with (
            running_stack(folder, stack_file) as stack,
            Probes(
                areas,
                stack.settings.mqtt,
                stack.settings.kafka,
                stack.reader_url,
                turn_ms=TURN_MS,
            ) as probes,
            _Page(stack.settings.feeds, stack.settings.mqtt, city.areas[0].id) as page,
        ):
            loaded = _under_load(stack, load_file, folder, seconds, probes, page)
            time.sleep(min(SETTLING_S, seconds))  # the windows of the last readings close
            idle = _used(stack, seconds)
    ours = _ours(loaded)
    return {
        "ours_cores": round(sum(ours.values()), 3),
        "all_cores": round(sum(loaded.values()), 3),
        "idle_ours_cores": round(sum(_ours(idle).values()), 3),
        "p99_row_s": _p99(probes.row_delays_s),
        "p99_live_s": _p99(page.delays_s),
        "probes": probes.sent,
        "probes_without_row": probes.without_row,
        "units": page.sent,
        "units_not_seen": page.not_seen,
        "cores": {part: round(value, 3) for part, value in loaded.items()},
        "idle_cores": {part: round(value, 3) for part, value in idle.items()},
    }


def _p99(delays_s: list[float]) -> float | None:
    return round(float(np.percentile(delays_s, 99)), 3) if delays_s else None


def _ours(cores: dict[str, float]) -> dict[str, float]:
    return {part: value for part, value in cores.items() if part not in SERVERS}


def _under_load(
    stack: StackUnderTest,
    city_file: Path,
    folder: Path,
    seconds: float,
    probes: Probes,
    page: _Page,
) -> dict[str, float]:
    """Return cores used by part while the readings come; probes and page are measured beside."""
    settling_s = min(SETTLING_S, seconds)
    simulator = start_simulator(
        stack, city_file, folder, rate=RATE, seconds=settling_s + seconds + 5
    )
    try:
        time.sleep(settling_s)
        before = cpu_seconds(simulator.pid)
        since = time.monotonic()
        stack_before = _cpu_s(stack)
        page.begin()
        probes.run(seconds, per_second=PROBES_PER_S)
        page.end()
        cores = _cores(stack_before, _cpu_s(stack), since)
        used_s = cpu_seconds(simulator.pid) - before
        cores["simulator"] = used_s / (time.monotonic() - since)
        probes.finish(PATIENCE_S)
        page.finish(PATIENCE_S)
        while simulator.alive():
            time.sleep(0.1)
    finally:
        simulator.stop()
    if simulator_counts(simulator).published < RATE * seconds:
        raise ServerUnavailable(f"the simulator published fewer than {RATE:g} readings/s")
    return cores


def _used(stack: StackUnderTest, seconds: float) -> dict[str, float]:
    """Return cores used by part within ``seconds``."""
    before, since = _cpu_s(stack), time.monotonic()
    time.sleep(seconds)
    return _cores(before, _cpu_s(stack), since)


def _cpu_s(stack: StackUnderTest) -> dict[str, float]:
    """Return CPU seconds by part, the supervisor ``up`` among them."""
    return cpu_seconds_by_part(stack.process.pid) | {"up": cpu_seconds(stack.process.pid)}


def _cores(before: dict[str, float], after: dict[str, float], since: float) -> dict[str, float]:
    took_s = time.monotonic() - since
    return {part: (used - before.get(part, 0.0)) / took_s for part, used in after.items()}


class _Delta(msgspec.Struct):
    """What is of interest here in an event of the live feed."""

    units: list[_Unit] = []


class _Unit(msgspec.Struct):
    id: str
    at: int


class _Event(msgspec.Struct):
    state: _Delta | None = None
    changes: _Delta | None = None


class _Page:
    """A client of the whole live feed, and a unit whose state it should see; two threads."""

    UNIT = "bench-unit"

    def __init__(self, feeds: FeedsSettings, mqtt_settings: MqttSettings, area: str) -> None:
        self.sent = self.not_seen = 0
        self.delays_s: list[float] = []
        self._waiting: list[int] = []
        """Times of states [epoch ms] that the client has not seen yet."""
        self._url = f"http://{feeds.host}:{feeds.port}/api/v1/live"
        self._topic = f"{mqtt_settings.root}/unit/{area}/{self.UNIT}"
        self._mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, "bench-unit")
        self._mqtt.connect(mqtt_settings.host, mqtt_settings.port)
        self._publish, self._closed = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._follow), threading.Thread(target=self._send)]

    def __enter__(self) -> _Page:
        self._mqtt.loop_start()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join()
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def begin(self) -> None:
        self._publish.set()

    def end(self) -> None:
        self._publish.clear()

    def finish(self, patience_s: float) -> None:
        """Wait at most ``patience_s`` until the client has seen the last state.

        What it has not seen by then counts with the time it has taken so far, as of `Probes`.
        """
        deadline = time.monotonic() + patience_s
        while self._waiting and time.monotonic() < deadline:
            time.sleep(0.05)
        with self._lock:
            self.not_seen, now = len(self._waiting), now_ms()
            self.delays_s += [(now - at) / 1000 for at in self._waiting]
            self._waiting.clear()

    def _send(self) -> None:
        while not self._closed.wait(1 / UNITS_PER_S):
            if not self._publish.is_set():
                continue
            at = now_ms()
            state = {
                "ts": at,
                "state": "available",
                "lon": 0.0,
                "lat": 0.0,
                "skills": [],
                "shift_end": at + 3_600_000,
            }
            with self._lock:
                self._waiting.append(at)
            self.sent += 1
            self._mqtt.publish(self._topic, msgspec.json.encode(state), qos=1)

    def _follow(self) -> None:
        """Read the feed until it is closed; heartbeats come every few seconds."""
        with (
            httpx.Client(timeout=30, trust_env=False) as client,
            client.stream("GET", self._url) as answer,
        ):
            for line in answer.iter_lines():
                if self._closed.is_set():
                    return
                if line.startswith("data: "):
                    self._take(msgspec.json.decode(line[6:], type=_Event))

    def _take(self, event: _Event) -> None:
        now = now_ms()
        units = (event.state or event.changes or _Delta()).units
        newest = max((unit.at for unit in units if unit.id == self.UNIT), default=0)
        with self._lock:
            self.delays_s += [(now - at) / 1000 for at in self._waiting if at <= newest]
            self._waiting = [at for at in self._waiting if at > newest]
