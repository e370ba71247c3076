"""Real sinks as processes under a steady load whose truth is known."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import psycopg

from civicstream.kinds import KINDS
from civicstream.service_events import Alternative
from civicstream.settings import Settings
from sinks.database.schema import reading_columns
from stack.servers.processes import Child, wait_until
from tests.kit.citizen_events import action, allocation, case, demand, personal, report, unit
from tests.kit.sink_events import alert, anomaly, forecast, forecast_row, gap, health, incident
from tests.kit.sink_input import START, Gateway, frame_of, sensors

AREAS = ("north", "south", "east", "west", "centre")
FED_KINDS = ("traffic", "noise")
SENSORS = 40

EVENT_ROWS = {
    "incidents": "id, version, severity",
    "forecasts": "segment, (extract(epoch FROM made_at) * 1000)::bigint, horizon_min, speed_kmh",
    "sensor_health": "sensor_key, (extract(epoch FROM window_end) * 1000)::bigint, health",
    "anomalies": "id, version, score",
    "reports": "id, lon, case_id",
    "cases": "id, version, weight",
    "units": "id, (extract(epoch FROM at) * 1000)::bigint, load",
    "allocations": "id, version, (alternatives->0->>'extra_cost')::float8",
    "demand": "service, (extract(epoch FROM at) * 1000)::bigint, (expected->>0)::float8",
    "actions": "id, value",
    "alerts": "id, version, value",
    "frame_gaps": "gateway, first, missing",
    "private.sealed_records": "report, sealed",
}
"""Table -> what is compared of its rows: the key, then a value."""


def start_sink(settings: Settings, folder: Path, name: str = "sink-1", **more: str) -> Child:
    """Start `civicstream sink` as the writer role."""
    variables = {
        "CIVICSTREAM_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "CIVICSTREAM_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "CIVICSTREAM_KAFKA__PARTITIONS": str(settings.kafka.partitions),
        "CIVICSTREAM_KAFKA__SESSION_TIMEOUT_MS": str(settings.kafka.session_timeout_ms),
        "CIVICSTREAM_DATABASE__URL": settings.database.url.get_secret_value(),
        "CIVICSTREAM_SINK__ID": name,
    }
    arguments = [sys.executable, "-m", "stack.cli", "sink"]
    return Child(name, arguments, folder / f"{name}.log", os.environ | variables | more)


@contextmanager
def sink_running(settings: Settings, folder: Path, name: str = "sink-1") -> Iterator[Child]:
    child = start_sink(settings, folder, name)
    try:
        yield child
    finally:
        child.stop()


class Feed:
    """Publishes frames of several areas and kinds until left, some readings late or twice.

    With them come events of every other sort that is stored, some twice. ``truth``:
    (kind, sensor key, ts) -> values of the one ingested last; ``events``: table -> rows as
    ``EVENT_ROWS`` has them, of those published first.
    """

    def __init__(self, settings: Settings, *, every_s: float = 0.05, seed: int = 5) -> None:
        self.gateway = Gateway(settings.kafka)
        self.truth: dict[tuple[str, int, int], tuple[float | None, ...]] = {}
        self.events: dict[str, set[tuple[Any, ...]]] = {table: set() for table in EVENT_ROWS}
        self._every_s = every_s
        self._rng = np.random.default_rng(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._tick = 0

    def __enter__(self) -> Feed:
        self.gateway.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.finish()
        self.gateway.__exit__(kind, error)

    def finish(self) -> None:
        """Stop publishing and return when Kafka has it all."""
        self._stop.set()
        self._thread.join(30)
        self.gateway.flush()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.publish_once()

    def publish_once(self) -> None:
        """Publish one frame of one area per kind."""
        self._tick += 1
        area = AREAS[self._tick % len(AREAS)]
        for kind in FED_KINDS:
            names, keys = sensors(kind, area, SENSORS)
            sensor = np.arange(SENSORS)
            ts = np.full(SENSORS, START + self._tick * 1000)
            again = self._rng.integers(0, SENSORS, 5)  # late, or a second time
            sensor = np.concatenate([sensor, again])
            back = self._rng.integers(0, 3 * len(AREAS), 5) * 1000
            ts = np.concatenate([ts, START + self._tick * 1000 - back])
            frame = frame_of(kind, area, names, keys, sensor, ts, self._rng)
            self.gateway.publish(area, frame, ingested_at=START + self._tick * 1000 + 70)
            columns = [frame.measures[n] for n in KINDS[kind].measure_names]
            for i in range(len(frame)):  # ingested later than all before: it wins
                values = tuple(None if np.isnan(c[i]) else float(c[i]) for c in columns)
                self.truth[kind, int(frame.sensor_key[i]), int(ts[i])] = values
        self._publish_events(area)

    def _publish_events(self, area: str) -> None:
        """Publish one event of each sort; every fourth time again, with another value."""
        tick, share = self._tick, round(float(self._rng.random()), 6)
        at = START + tick * 1000
        for again in range(2 if tick % 4 == 0 else 1):
            value = share + again
            sick = "flat" if again else "stuck"
            seen = {"window_end": at, "area": area}
            number = {"id": f"i{tick // 7}", "version": tick % 7 + 1}
            row = forecast_row(f"{area}-s1", [value, None])
            for topic, event in (
                ("incidents", incident(**number, severity=value, **seen)),
                ("forecasts", forecast(row, made_at=at)),
                ("health", health(sensor_key=tick % 9, health=sick, **seen)),
                ("anomalies", anomaly(**number, score=value, **seen)),
                ("alerts", alert(id="l0", version=tick, value=value, updated_at=at)),
                ("gaps", gap(gateway="g", first=tick, missing=int(value * 1e6))),
            ):
                self.gateway.raw(topic, msgspec.json.encode(event), key=area.encode())
            for topic, other in citizens_events(tick, at, value).items():
                self.gateway.raw(topic, msgspec.json.encode(other), key=area.encode())
        self.events["incidents"].add((number["id"], number["version"], share))
        self.events["anomalies"].add((number["id"], number["version"], share))
        self.events["sensor_health"].add((tick % 9, at, "stuck"))
        made = {(f"{area}-s1", at, 15, share), (f"{area}-s1", at, 30, None)}
        self.events["forecasts"] |= made
        name = f"e{tick}"
        self.events["reports"].add((name, share, "c0"))
        self.events["cases"].add(("c0", tick, share))
        self.events["units"].add((f"u{tick % 5}", at, share))
        self.events["allocations"].add(("a0", tick, share))
        self.events["demand"].add((f"s{tick % 5}", at, share))
        self.events["actions"].add((name, str(share)))
        self.events["alerts"].add(("l0", tick, share))
        self.events["frame_gaps"].add(("g", tick, int(share * 1e6)))
        self.events["private.sealed_records"].add((name, str(share)))


def citizens_events(tick: int, at: int, value: float) -> dict[str, msgspec.Struct]:
    """Return topic -> event of this tick with ``value`` in one of its fields."""
    name = f"e{tick}"
    return {
        "reports": report(id=name, lon=value),
        "cases": case(id="c0", version=tick, weight=value, latest_report=name),
        "units": unit(id=f"u{tick % 5}", at=at, load=value),
        "allocations": allocation(
            id="a0", version=tick, alternatives=[Alternative("u2", at, value)]
        ),
        "demand": demand(service=f"s{tick % 5}", at=at, expected=[value]),
        "actions": action(id=name, value=str(value)),
        "private": personal(report=name, sealed=str(value)),
    }


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, connect_timeout=3) as connection:
        return connection.execute(query.encode()).fetchall()


def received(url: str) -> int:
    """Return how many readings all sinks have taken, as committed."""
    return int(ask(url, "SELECT coalesce(sum(received), 0) FROM sink_counts")[0][0])


def wait_received(url: str, count: int, child: Child | None = None, timeout_s: float = 60) -> None:
    def enough() -> bool:
        if child is not None:
            assert child.alive(), child.last_words()
        return received(url) >= count

    wait_until(enough, f"{count} readings in the database", timeout_s=timeout_s, every_s=0.2)


def wait_for_all(url: str, feed: Feed, child: Child) -> None:
    """Return when all readings and events of a feed that has ended are in the database."""
    wait_received(url, feed.gateway.sent, child)
    query = " + ".join(f"(SELECT count(*) FROM {table})" for table in EVENT_ROWS)
    wanted = sum(map(len, feed.events.values()))

    def enough() -> bool:
        assert child.alive(), child.last_words()
        return int(ask(url, f"SELECT {query}")[0][0]) >= wanted

    wait_until(enough, f"{wanted} rows of events", timeout_s=60, every_s=0.2)


def assert_rows_equal_truth(url: str, feed: Feed) -> None:
    """None missing, none twice, each with the values ingested last; the counts say the same."""
    found: dict[tuple[str, int, int], tuple[Any, ...]] = {}
    total = 0
    for kind in FED_KINDS:
        measures = ", ".join(reading_columns(KINDS[kind])[2:-1])
        rows = ask(
            url,
            f"SELECT sensor_key, (extract(epoch FROM ts) * 1000)::bigint, {measures} "
            f"FROM readings_{kind}",
        )
        total += len(rows)
        found |= {(kind, row[0], row[1]): row[2:] for row in rows}
    assert total == len(feed.truth)
    assert found == feed.truth
    counts = ask(
        url,
        "SELECT sum(received), sum(accepted), sum(duplicate + corrected), sum(rejected) "
        "FROM sink_counts",
    )[0]
    assert tuple(map(int, counts)) == (feed.gateway.sent, total, feed.gateway.sent - total, 0)
    tallies = ask(
        url,
        "SELECT sum(events), sum(cardinality(missing)), sum(repeated) FROM records_seen "
        "WHERE topic LIKE '%.frames.%'",
    )[0]
    assert tuple(map(int, tallies)) == (feed.gateway.sent, 0, 0)
    for table, columns in EVENT_ROWS.items():
        stored = ask(url, f"SELECT {columns} FROM {table}")
        assert len(stored) == len(feed.events[table])
        assert set(stored) == feed.events[table]


def at_a_random_moment(rng: random.Random) -> None:
    """Return after anything up to a second: the moment itself is what is under test."""
    time.sleep(rng.uniform(0, 1))
