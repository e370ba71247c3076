"""``simulate`` against real brokers: what the truth says was acked is what a subscriber gets."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.settings import MqttSettings, Settings
from sensors_sim.city_plan import plan_city
from sensors_sim.faults import FaultRates
from sensors_sim.service import Run, simulate
from sensors_sim.simulation import SimulationPlan
from stack.servers.brokers import find_mosquitto, start_mqtt
from stack.servers.processes import Child, free_port, port_answers, wait_until
from tests.kit.mqtt_reader import MqttReader
from tests.kit.servers import TcpProxy

START = 1_795_248_000_000


@pytest.fixture(scope="module")
def city() -> City:
    return plan_city(400, 2)


def truth_rows(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted(folder.glob("*.arrow")):
        with pa.ipc.open_stream(path) as reader:
            table = reader.read_all()
        rows += [row | {"kind": path.stem} for row in table.to_pylist()]
    return rows


def counts_in(folder: Path) -> dict[str, Any]:
    counts: dict[str, Any] = msgspec.json.decode((folder / "counts.json").read_bytes())
    return counts


def as_published(row: dict[str, Any]) -> tuple[Any, ...]:
    """(topic, ts, measures) of a truth row."""
    other = {"sensor_key", "sensor", "area", "ts", "fault", "acked", "resent", "sent_at", "kind"}
    measures = {k: v for k, v in row.items() if k not in other and not math.isnan(v)}
    topic = f"city/v1/{row['kind']}/{row['area']}/{row['sensor']}"
    return topic, round(row["ts"].timestamp() * 1000), tuple(sorted(measures.items()))


def as_received(topic: str, reading: dict[str, Any]) -> tuple[Any, ...]:
    measures = {k: float(v) for k, v in reading.items() if k != "ts"}
    return topic, reading["ts"], tuple(sorted(measures.items()))


def members(payload: bytes, batch: int) -> list[dict[str, Any]]:
    decoded = msgspec.json.decode(payload)
    return list(decoded) if batch > 1 else [decoded]


@pytest.mark.parametrize("batch", [1, 4])
def test_published_is_acked_is_received_is_the_truth(
    mosquitto: MqttSettings, city: City, tmp_path: Path, batch: int
) -> None:
    plan = SimulationPlan(seed=3, rate=1_000, batch=batch)
    run = Run(connections=3, duration_s=3, truth=tmp_path / "truth")
    with MqttReader(mosquitto) as reader:
        counts = simulate(Settings(mqtt=mosquitto), city, plan, run, START, threading.Event())
        reader.wait_for(counts["messages_acked"])
    assert counts == counts_in(tmp_path / "truth")
    assert counts["published"] == counts["acked"] == counts["messages"] * batch
    # The rate is held: over 3 s exactly what is due, whatever this machine was busy with.
    assert counts["published"] == pytest.approx(3_000, abs=20 * batch)
    received = Counter(
        as_received(topic, reading)
        for topic, payload in reader.received
        for reading in members(payload, batch)
    )
    rows = truth_rows(tmp_path / "truth")
    assert all(row["acked"] and not row["fault"] for row in rows)
    assert received == Counter(as_published(row) for row in rows)
    assert set(received.values()) == {1}


def test_faults_arrive_as_counted(mosquitto: MqttSettings, city: City, tmp_path: Path) -> None:
    faults = FaultRates(0.05, 0.05, 0.05, 0.1, 0.1, 0.1, late_by_s=2)
    plan = SimulationPlan(seed=3, rate=1_000, faults=faults)
    run = Run(connections=2, duration_s=4, truth=tmp_path / "truth")
    with MqttReader(mosquitto) as reader:
        counts = simulate(Settings(mqtt=mosquitto), city, plan, run, START, threading.Event())
        reader.wait_for(counts["messages_acked"])
    assert len(reader.received) == counts["messages"] == counts["published"] == counts["acked"]
    rows = truth_rows(tmp_path / "truth")
    seen = Counter(row["fault"] for row in rows)
    assert {name: seen[name] for name in counts["faults"]} == counts["faults"]
    assert all(counts["faults"].values())
    assert counts["dropped"] > 0
    assert sum(counts["malformed_messages"].values()) == counts["faults"]["malformed"]
    good = Counter(as_published(row) for row in rows if row["fault"] != "malformed")
    received: Counter[tuple[Any, ...]] = Counter()
    for topic, payload in reader.received:
        try:
            received[as_received(topic, msgspec.json.decode(payload))] += 1
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, KeyError):
            received["broken", 0, ()] += 1
    assert good <= received
    assert (received - good).total() == counts["faults"]["malformed"]
    twice = Counter(as_published(row) for row in rows if row["fault"] == "duplicate")
    assert all(good[key] == 2 for key in twice)


def test_an_areas_readings_arrive_in_order_of_time(mosquitto: MqttSettings, city: City) -> None:
    plan = SimulationPlan(seed=3, rate=2_000, speed=50)
    with MqttReader(mosquitto) as reader:
        counts = simulate(
            Settings(mqtt=mosquitto), city, plan, Run(4, 2.0), START, threading.Event()
        )
        reader.wait_for(counts["messages_acked"])
    last: dict[str, int] = {}
    newest = 0
    for topic, payload in reader.received:
        area, ts = topic.split("/")[3], msgspec.json.decode(payload)["ts"]
        assert ts >= last.get(area, 0)
        assert ts >= newest - 5_000, "connections drifted apart by more than a block"
        last[area], newest = ts, max(newest, ts)
    assert len(last) == len(city.areas)


def test_a_broker_restart_loses_nothing_that_was_acked(
    tmp_path: Path, city: City, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    port, folder = free_port(), tmp_path / "mosquitto"
    settings = Settings(mqtt=MqttSettings(port=port))
    broker = start_mqtt(port, folder)
    counts: dict[str, Any] = {}
    plan = SimulationPlan(seed=3, rate=1_500)
    run = Run(connections=2, duration_s=6, truth=tmp_path / "truth")

    def work() -> None:
        counts.update(simulate(settings, city, plan, run, START, threading.Event()))

    with MqttReader(settings.mqtt) as reader:
        worker = threading.Thread(target=work)
        worker.start()
        reader.wait_for(2_000)
        broker.stop()
        wait_until(lambda: not port_answers(port), "the broker gone", timeout_s=10)
        broker = start_mqtt(port, folder)
        worker.join(60)
        assert not worker.is_alive()
        wait_until(
            lambda: len(set(reader.received)) >= counts["acked"],
            "everything acked",
            timeout_s=30,
        )
    broker.stop()
    assert counts["published"] == counts["acked"] == pytest.approx(9_000, abs=20)
    got = {as_received(topic, msgspec.json.decode(payload)) for topic, payload in reader.received}
    rows = truth_rows(tmp_path / "truth")
    assert len(rows) == counts["published"]
    assert {as_published(row) for row in rows} == got
    assert counts["resent"] == sum(row["resent"] for row in rows)
    assert caplog.text.count("connected again") >= 2


def test_a_cut_link_resends_what_was_not_acked_and_marks_it(
    mosquitto: MqttSettings, city: City, tcp_proxy: type[TcpProxy], tmp_path: Path
) -> None:
    proxy = tcp_proxy(mosquitto.port)
    settings = Settings(mqtt=MqttSettings(port=proxy.port))
    counts: dict[str, Any] = {}
    plan, run = SimulationPlan(rate=2_000), Run(2, 5.0, tmp_path / "truth")

    def work() -> None:
        counts.update(simulate(settings, city, plan, run, START, threading.Event()))

    with MqttReader(mosquitto) as reader:
        worker = threading.Thread(target=work)
        worker.start()
        for pause in range(1, 4):
            reader.wait_for(1_500 * pause)
            proxy.cut()
            proxy.restore()
        worker.join(60)
        assert not worker.is_alive()
        wait_until(lambda: len(set(reader.received)) >= counts["acked"], "all acked", timeout_s=30)
    rows = truth_rows(tmp_path / "truth")
    assert counts["published"] == counts["acked"] == len(rows) == pytest.approx(10_000, abs=20)
    got = Counter(as_received(t, msgspec.json.decode(p)) for t, p in reader.received)
    assert set(got) == {as_published(row) for row in rows}
    # Only what the truth calls resent may have arrived twice.
    resent = {as_published(row) for row in rows if row["resent"]}
    assert {key for key, times in got.items() if times > 1} <= resent
    assert counts["resent"] == len(resent)


def test_a_terminated_run_leaves_a_complete_truth(mosquitto: MqttSettings, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    environment = dict(os.environ, CIVICSTREAM_MQTT__PORT=str(mosquitto.port))
    arguments = ["--sensors", "400", "--rate", "1000", "--truth", str(truth)]
    with MqttReader(mosquitto) as reader:
        command = [sys.executable, "-m", "stack.cli", "simulate", *arguments]
        child = Child("simulate", command, tmp_path / "simulate.log", environment)
        reader.wait_for(1_500)
        assert child.stop() == 0, child.last_words()
        counts = counts_in(truth)
        reader.wait_for(counts["messages_acked"])
    assert 1_500 <= counts["published"] == counts["acked"] == len(reader.received)
    received = Counter(as_received(t, msgspec.json.decode(p)) for t, p in reader.received)
    assert received == Counter(as_published(row) for row in truth_rows(truth))
    assert b'"published": ' in (tmp_path / "simulate.log").read_bytes()


def test_a_broker_that_speaks_only_mqtt_3_is_served_too(tmp_path: Path, city: City) -> None:
    port = free_port()
    broker = start_mqtt(port, tmp_path / "amqtt", prefer_mosquitto=False)
    mqtt = MqttSettings(port=port)
    with MqttReader(mqtt, "city/#") as reader:
        counts = simulate(
            Settings(mqtt=mqtt),
            city,
            SimulationPlan(rate=200),
            Run(2, 2.0),
            START,
            threading.Event(),
        )
        reader.wait_for(counts["messages_acked"])
    broker.stop()
    assert counts["published"] == counts["acked"] == pytest.approx(400, abs=10)


def test_refused_credentials_say_so_and_do_not_try_for_ever(tmp_path: Path, city: City) -> None:
    program = find_mosquitto()
    if program is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    port = free_port()
    (tmp_path / "passwords").write_text("")
    (tmp_path / "passwords").chmod(0o600)
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {tmp_path}/passwords\nuser {os.environ.get('USER', 'root')}\n"
    )
    broker = Child("mosquitto", [program, "-c", config], tmp_path / "mosquitto.log")
    broker.wait_ready(lambda: port_answers(port))
    settings = Settings(mqtt=MqttSettings(port=port, username="ann", password="secret"))
    with pytest.raises(ConfigurationError, match="refuses user 'ann'") as caught:
        simulate(settings, city, SimulationPlan(), Run(1, 1.0), START, threading.Event())
    broker.stop()
    assert "secret" not in str(caught.value)
