"""Figure `sink`: rows/s of the sink into a real hypertable, beside COPY and executemany.

The same readings three ways, on one TimescaleDB, in one run:

- the sink: the real process, from frames on Kafka to committed rows, with everything it does
  (1 % repeated readings found, newest reading of each sensor, counts, frame numbers, offsets),
- a bare binary COPY: the distinct rows, encoded beforehand, into an identical hypertable with
  its unique index, in transactions of the sink's batch size; half before the sink, half after,
- executemany INSERT of a part of the rows into another.

Rates come from commits: of the sink between its first commit seen and its last, so start-up and
first sight of the sensors are left out.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pydantic import SecretStr

from benchmarks.kafka_input import produce_frames
from benchmarks.process_usage import cpu_seconds
from benchmarks.stage import embedded_kafka, environment, running
from benchmarks.workload import Load, frames, rounds, traffic_city
from civicstream.errors import ServerUnavailable
from civicstream.settings import DatabaseSettings, Settings, SinkSettings
from sinks.admin.init import init_database
from sinks.database.copy_binary import copy_buffer
from sinks.tables import BulkTable, readings_table
from stack.servers.processes import Child, wait_until

__all__ = ["run"]

_SENSORS = 5_000
_FRAME_READINGS = 1_000
_ROWS_PER_SECOND = 60_000
"""Readings prepared per second asked for: the three ways together then take about that long."""
_EXECUTEMANY_SHARE = 0.05
_BATCH = SinkSettings().max_batch_rows
_TABLE = readings_table("traffic")

Connection = psycopg.Connection[tuple[object, ...]]


def run(*, seconds: float = 30, readings: int | None = None) -> dict[str, object]:
    """Measure and return rows/s of the three ways and their ratios."""
    count = readings or max(300_000, round(seconds * _ROWS_PER_SECOND))
    with tempfile.TemporaryDirectory() as name, _timescale(Path(name)) as url:
        folder = Path(name)
        load = Load(traffic_city(_SENSORS))
        rows = _distinct_rows(load, count)
        half = len(rows[0]) // 2
        init_database(Settings(database=DatabaseSettings(url=SecretStr(url))))
        with psycopg.connect(url, autocommit=True) as connection:
            copied = [_copy(connection, "bare_before", [c[:half] for c in rows])]
            measured = _run_sink(connection, folder, url, load, count)
            copied.append(_copy(connection, "bare_after", [c[half:] for c in rows]))
            few = max(10_000, round(len(rows[0]) * _EXECUTEMANY_SHARE))
            inserted = _executemany(connection, "bare_inserts", [c[:few] for c in rows])
            server = connection.info.server_version
    copy_rate = len(rows[0]) / sum(copied)
    insert_rate = few / inserted
    return {
        "rows_per_s": round(measured.rows_per_s),
        "copy_rows_per_s": round(copy_rate),
        "executemany_rows_per_s": round(insert_rate),
        "ratio_to_copy": round(measured.rows_per_s / copy_rate, 3),
        "ratio_to_executemany": round(measured.rows_per_s / insert_rate, 2),
        "rows": measured.rows,
        "readings": measured.readings,
        "transactions": measured.transactions,
        "sensors": _SENSORS,
        "sink_cpu_us_per_row": round(measured.cpu_us_per_row, 2),
        "server": f"PostgreSQL {server // 10_000}.{server % 10_000} with TimescaleDB, fsync off",
    }


@contextmanager
def _timescale(folder: Path) -> Iterator[str]:
    checkout = Path(__file__).parents[1]  # the tests, which know how to start it, are not installed
    if not (checkout / "tests" / "kit" / "servers.py").exists():
        raise ServerUnavailable(
            "the bench starts TimescaleDB as the tests do: run it in a checkout"
        )
    sys.path.append(str(checkout))
    from tests.kit.servers import TimescaleServer, timescaledb_missing

    if reason := timescaledb_missing():
        raise ServerUnavailable(reason)
    server = TimescaleServer(folder)
    try:
        yield server.url
    finally:
        server.remove()


def _distinct_rows(load: Load, count: int) -> list[NDArray[Any]]:
    """Return the columns of the readings in order of arrival, each reading once."""
    parts = list(frames(load, rounds(load, count), partitions=8, frame_size=_FRAME_READINGS))
    key = np.concatenate([f.sensor_key for _, f in parts])
    ts = np.concatenate([f.ts for _, f in parts])
    pairs = np.rec.fromarrays([key, ts])
    first = np.sort(np.unique(pairs, return_index=True)[1])
    measures = [
        np.concatenate([f.measures[name] for _, f in parts])[first]
        for name in parts[0][1].kind.measure_names
    ]
    return [key[first], ts[first], *measures, ts[first] + 50]


def _make_table(connection: Connection, name: str) -> BulkTable:
    """Create a hypertable with the columns and the unique index of readings_traffic."""
    connection.execute(f"CREATE TABLE {name} (LIKE readings_traffic INCLUDING ALL)".encode())
    connection.execute(
        f"SELECT create_hypertable('{name}', by_range('ts', INTERVAL '1 day'), "
        "create_default_indexes => false)".encode()
    )
    return BulkTable(name, _TABLE.columns, _TABLE.types, _TABLE.key, "DO NOTHING")


def _copy(connection: Connection, name: str, columns: list[NDArray[Any]]) -> float:
    """Return the seconds that committing the rows by COPY takes, encoding left out."""
    table = _make_table(connection, name)
    buffers = [
        copy_buffer(table.types, [c[start : start + _BATCH] for c in columns])
        for start in range(0, len(columns[0]), _BATCH)
    ]
    began = time.perf_counter()
    for buffer in buffers:
        with connection.transaction(), connection.cursor().copy(table.copy) as copy:
            copy.write(buffer)
    return time.perf_counter() - began


def _executemany(connection: Connection, name: str, columns: list[NDArray[Any]]) -> float:
    """Return the seconds that committing the rows by executemany INSERT takes."""
    table = _make_table(connection, name)
    places = ", ".join(
        "to_timestamp(%s / 1000.0)" if t == "timestamptz" else "%s" for t in table.types
    )
    statement = f"INSERT INTO {name} ({', '.join(table.columns)}) VALUES ({places})".encode()
    values = list(zip(*(c.tolist() for c in columns), strict=True))
    began = time.perf_counter()
    for start in range(0, len(values), _BATCH):
        with connection.transaction():
            connection.cursor().executemany(statement, values[start : start + _BATCH])
    return time.perf_counter() - began


@dataclass(frozen=True)
class _Measured:
    rows_per_s: float
    rows: int
    readings: int
    transactions: int
    cpu_us_per_row: float


def _run_sink(connection: Connection, folder: Path, url: str, load: Load, count: int) -> _Measured:
    with embedded_kafka(folder / "kafka") as kafka:
        produced = produce_frames(kafka, load, count, frame_size=_FRAME_READINGS)
        total = produced.readings + len(load.city.areas)  # one more each, to close its windows
        variables = environment(
            kafka__bootstrap=kafka.bootstrap,
            kafka__session_timeout_ms=kafka.session_timeout_ms,
            database__url=url,
            sink__id="bench",
        )
        with running("sink", ["stack.cli", "sink"], folder, variables) as sink:
            return _watch(connection, sink, total)


def _watch(connection: Connection, sink: Child, total: int) -> _Measured:
    """Follow the commits until all readings are in; the first one seen starts the clock."""
    seen: list[tuple[float, int, int, float]] = []

    def all_in() -> bool:
        if not sink.alive():
            raise ServerUnavailable(f"the sink ended:\n{sink.last_words()}")
        row = connection.execute(
            "SELECT received, accepted FROM sink_counts WHERE kind = 'traffic'"
        ).fetchone()
        received, accepted = (int(str(row[0])), int(str(row[1]))) if row else (0, 0)
        if received and (not seen or received > seen[-1][1]):
            seen.append((time.perf_counter(), received, accepted, cpu_seconds(sink.pid)))
        return received >= total

    wait_until(all_in, f"{total} readings in the database", timeout_s=300, every_s=0.01)
    (began, _, first, cpu_first), (ended, received, accepted, cpu_last) = seen[0], seen[-1]
    rows = accepted - first
    return _Measured(
        rows / (ended - began),
        accepted,
        received,
        len(seen),
        (cpu_last - cpu_first) / rows * 1e6,
    )
