"""The whole road, every part a process, on real servers; and the truth it is held against."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.clock import now_ms
from civicstream.geojson import read_city
from civicstream.kinds import KINDS
from civicstream.settings import ENV_PREFIX, KafkaSettings, MqttSettings
from stack.servers.processes import Child, wait_until
from tests.kit.window_oracle import Kept, Reading, traffic_of, windows_of
from tests.kit.worker_runs import read_reports

PARTS = ("gateway", "worker", "sink")
ALL_PARTS = (*PARTS, "feeds", "alerts", "deliver")
WINDOW_S = 5


class System:
    """The parts as processes; start, kill and restart them by name.

    ``own``: settings of single parts over those of all, as in ``{"feeds": {"feeds__port": 1}}``.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        kafka: KafkaSettings,
        url: str,
        folder: Path,
        own: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self.kafka = kafka
        self.url = url
        self.folder = folder
        self.city_file = folder / "city.geojson"
        self.children: dict[str, Child] = {}
        settings = {
            "mqtt__port": mqtt.port,
            "kafka__bootstrap": kafka.bootstrap,
            "kafka__topic_prefix": kafka.topic_prefix,
            "kafka__partitions": kafka.partitions,
            "kafka__replication": kafka.replication,
            "kafka__session_timeout_ms": 6000,
            "database__url": url,
            "city__file": self.city_file,
            "windows__size_s": WINDOW_S,
            # Outages hold readings back; so long they must still find their window open.
            "windows__lateness_s": 25,
            "windows__out_of_orderness_s": 2,
            "windows__idle_s": 5,
            # A broken sensor is left out of results; the oracle knows of none.
            "intelligence__sensor_health": False,
            "gateway__id": "gateway-1",
            "worker__id": "worker-1",
            "worker__data_dir": folder / "worker",
            "sink__id": "sink-1",
        }
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
        self.environment |= _variables(settings)
        self._own = {part: _variables(settings) for part, settings in (own or {}).items()}

    def set(self, part: str, settings: Mapping[str, object]) -> None:
        """Give a part settings of its own, for its next start."""
        self._own[part] = self._own.get(part, {}) | _variables(settings)

    def run(self, *arguments: object, timeout_s: float = 120) -> str:
        """Run a command to its end; return what it printed; fail with it when it failed."""
        child = self.launch(str(arguments[0]), *arguments)
        wait_until(lambda: not child.alive(), f"{arguments[0]} to end", timeout_s=timeout_s)
        assert child.returncode == 0, child.last_words(40)
        return child.log_file.read_text(encoding="utf-8")

    def launch(self, name: str, *arguments: object) -> Child:
        """Start a command in the background."""
        number = len(list(self.folder.glob(f"{name}-*.log")))
        command = [sys.executable, "-m", "stack.cli", *map(str, arguments)]
        environment = self.environment | self._own.get(str(arguments[0]), {})
        return Child(name, command, self.folder / f"{name}-{number}.log", environment)

    def start(self, part: str, *, wait: bool = True) -> None:
        """Start a part and wait until it reports."""
        since = now_ms()
        self.children[part] = self.launch(part, part)
        if wait:
            self.wait_ready(part, since)

    def wait_ready(self, part: str, since_ms: int) -> None:
        child = self.children[part]

        def reported() -> bool:
            reports = read_reports(self.kafka, part)
            return any(report.epoch >= since_ms for report in reports)

        child.wait_ready(reported, timeout_s=60)

    def kill(self, part: str) -> None:
        """kill -9, as a crash would."""
        self.children[part].kill()

    def stop(self) -> None:
        codes = {part: child.stop() for part, child in self.children.items()}
        assert not any(codes.values()), codes


def _variables(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"{ENV_PREFIX}{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def running_system(
    mqtt: MqttSettings, kafka: KafkaSettings, url: str, folder: Path, *, sensors: int
) -> Iterator[System]:
    """Gateway, worker and sink, initialised, ready, with a simulated city's model."""
    with running(System(mqtt, kafka, url, folder), PARTS, sensors=sensors) as system:
        yield system


@contextmanager
def running(
    system: System, parts: Sequence[str], *, sensors: int, init: Sequence[str] = ("init",)
) -> Iterator[System]:
    """The system, initialised, with a simulated city's model and the parts ready."""
    system.run("city", "--sensors", sensors, "--seed", 5, "--out", system.city_file)
    system.run(*init)
    try:
        for part in parts:
            system.start(part)
        yield system
    except BaseException:
        for child in system.children.values():
            child.kill()
        raise
    system.stop()


class Truth:
    """What the simulator or the replay wrote down."""

    def __init__(self, folder: Path) -> None:
        self.counts: dict[str, Any] = json.loads((folder / "counts.json").read_text())
        self._tables = {}
        for kind in KINDS:
            path = folder / f"{kind}.arrow"
            if path.exists():
                with pa.ipc.open_stream(path.read_bytes()) as reader:
                    self._tables[kind] = reader.read_all()
        self.kinds = sorted(self._tables)

    def rows(self, kind: str) -> dict[tuple[int, int], tuple[float, ...]]:
        """Return (sensor_key, ts) -> measures of every well-formed reading that was acked."""
        table = self._tables[kind]
        wanted = table.filter(
            pc.and_(table["acked"], pc.not_equal(table["fault"].cast(pa.utf8()), "malformed"))
        )
        keys = wanted["sensor_key"].to_pylist()
        stamps = wanted["ts"].cast(pa.int64()).to_pylist()
        measures = [wanted[m].to_pylist() for m in KINDS[kind].measure_names]
        return dict(zip(zip(keys, stamps, strict=True), zip(*measures, strict=True), strict=True))

    def readings(self, kind: str) -> list[Reading]:
        """Return the same as readings for the oracle; duplicates are identical."""
        table = self._tables[kind]
        names = KINDS[kind].measure_names
        columns = [table[c].to_pylist() for c in ("area", "sensor", "acked", "fault", *names)]
        stamps = table["ts"].cast(pa.int64()).to_pylist()
        found = []
        for ts, area, sensor, acked, fault, *values in zip(stamps, *columns, strict=True):
            if acked and fault != "malformed":
                present = {n: v for n, v in zip(names, values, strict=True) if v == v}  # noqa: PLR0124
                found.append((area, sensor, ts, present, 0))
        return found


def stored_rows(url: str, kind: str) -> dict[tuple[int, int], tuple[float, ...]]:
    """Return (sensor_key, ts) -> measures of every row; fail where one stands twice."""
    columns = ", ".join(measure.column for measure in KINDS[kind].measures)
    query = (
        "SELECT sensor_key, (extract(epoch FROM ts) * 1000)::bigint, "
        f"{columns} FROM readings_{kind}"
    )
    with psycopg.connect(url) as connection:
        rows = connection.execute(query).fetchall()
    found = {
        (key, ts): tuple(float("nan") if v is None else float(v) for v in values)
        for key, ts, *values in rows
    }
    assert len(found) == len(rows), f"{kind}: a (sensor, ts) stands twice"
    return found


def assert_rows_equal_truth(url: str, truth: Truth) -> int:
    """Fail unless the database holds exactly the acked readings; return how many."""
    total = 0
    for kind in truth.kinds:
        expected, found = truth.rows(kind), stored_rows(url, kind)
        missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
        assert not missing, f"{kind}: {len(missing)} readings are missing, {sorted(missing)[:3]}"
        assert not extra, f"{kind}: {len(extra)} rows nobody published, {sorted(extra)[:3]}"
        keys = sorted(expected)
        np.testing.assert_allclose(
            _matrix(found, keys), _matrix(expected, keys), rtol=0, atol=1e-9, err_msg=kind
        )
        total += len(keys)
    assert total
    return total


def _matrix(
    rows: dict[tuple[int, int], tuple[float, ...]], keys: list[tuple[int, int]]
) -> NDArray[np.float64]:
    return np.array([rows[key] for key in keys], np.float64)


def stored_traffic(url: str) -> dict[tuple[str, int], dict[str, Any]]:
    """Return (segment, window start) -> the final result's columns."""
    with psycopg.connect(url, row_factory=psycopg.rows.dict_row) as connection:
        rows = connection.execute(
            "SELECT *, (extract(epoch FROM window_start) * 1000)::bigint AS start "
            "FROM results_traffic"
        ).fetchall()
    return {(row["segment"], row["start"]): row for row in rows}


def assert_traffic_equals_oracle(url: str, truth: Truth, city: City) -> int:
    """Fail unless every final traffic window in the database is the oracle's; return how many."""
    kept = windows_of(truth.readings("traffic"), WINDOW_S * 1000)
    expected = {
        (segment, start): values
        for start, window in kept.items()
        for segment, values in traffic_of(list(window.values()), city).items()
    }
    found = stored_traffic(url)
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    assert not missing, f"{len(missing)} of {len(expected)}, e.g. {sorted(missing)[:5]}"
    assert not extra, f"{len(extra)} beside {len(expected)}, e.g. {sorted(extra)[:5]}"
    for place, values in expected.items():
        for name, value in values.items():
            got = found[place][name]
            if value is None:
                assert got is None, (place, name, got)
            else:
                assert abs(got - value) <= 2e-6 + 1e-6 * abs(value), (place, name, got, value)
    return len(expected)


def assert_environment_equals_oracle(url: str, truth: Truth, kind: str) -> int:
    """Fail unless every final window of ``kind`` is the oracle's; return how many rows."""
    kept = windows_of(truth.readings(kind), WINDOW_S * 1000)
    expected = {
        (area, measure, start): values
        for start, window in kept.items()
        for (area, measure), values in _values(window).items()
    }
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT area, measure, (extract(epoch FROM window_start) * 1000)::bigint, readings, "
            'mean, "min", "max", p95 FROM results_environment WHERE kind = %s',
            [kind],
        ).fetchall()
    found = {tuple(row[:3]): row[3:] for row in rows}
    assert found.keys() == expected.keys()
    for place, values in expected.items():
        statistics = (len(values), np.mean(values), min(values), max(values))
        np.testing.assert_allclose(found[place][:4], statistics, rtol=1e-9, err_msg=str(place))
        np.testing.assert_allclose(found[place][4], np.percentile(values, 95), rtol=1e-9)
    return len(expected)


def _values(window: Kept) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for area, _, _, measures, _ in window.values():
        for name, value in measures.items():
            found[area, name].append(value)
    return found


def assert_everything_arrived(system: System, truth_folder: Path, timeout_s: float = 150) -> Truth:
    """Wait until the last window is in the database; then hold everything against the truth."""
    truth = Truth(truth_folder)
    assert truth.counts["acked"] == truth.counts["published"], truth.counts
    rows = sum(len(truth.rows(kind)) for kind in truth.kinds)
    wait_until(
        lambda: _count_rows(system.url, truth) >= rows,
        "all rows",
        timeout_s=timeout_s,
        every_s=1.0,
    )
    assert rows == assert_rows_equal_truth(system.url, truth)
    city = read_city(system.city_file)
    windows = _eventually(lambda: assert_traffic_equals_oracle(system.url, truth, city), timeout_s)
    for kind in set(truth.kinds) - {"traffic"}:
        windows += _eventually(
            partial(assert_environment_equals_oracle, system.url, truth, kind), timeout_s
        )
    ledger = json.loads(system.run("ledger", "--json").splitlines()[-1])
    print(f"{rows} rows and {windows} windows equal the truth; ledger {ledger}")  # noqa: T201
    return truth


def _count_rows(url: str, truth: Truth) -> int:
    with psycopg.connect(url) as connection:
        return sum(
            connection.execute(f"SELECT count(*) FROM readings_{kind}").fetchone()[0]  # type: ignore[index]
            for kind in truth.kinds
        )


def _eventually(check: Callable[[], int], timeout_s: float) -> int:
    """Repeat ``check`` until it holds; then what it returned, or at last its failure."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(2)
