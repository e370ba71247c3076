"""`civicstream up`: everything starts, what dies comes back, nothing is left behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import paho.mqtt.publish as mqtt_publish
import psutil
import psycopg
import pytest

from civicstream.clock import now_ms
from civicstream.settings import ENV_PREFIX, KafkaSettings, MqttSettings
from stack.servers.brokers import find_mosquitto
from stack.servers.database import EmbeddedDatabase
from stack.servers.processes import free_port, wait_until
from tests.kit.kafka_brokers import KafkaCluster

pytestmark = pytest.mark.slow

_UP = (sys.executable, "-m", "stack.cli", "up")
_PARTS = {  # what of its command line tells a part from the others
    "gateway": "gateway",
    "worker": "worker",
    "sink": "sink",
    "feeds": "feeds",
    "alerts": "alerts",
    "deliver": "deliver",
    "simulator": "simulate",
    "database": "postgres",
    "kafka": "kafka.Kafka",
    "mqtt": "mosquitto",
}


class Up:
    """A running `civicstream up`, its output and its parts' processes."""

    def __init__(self, folder: Path, *options: str, terminal: int | None = None) -> None:
        self.data = folder / "data"
        self._output = folder / "up.log"
        with self._output.open("wb") as out:
            self.process = psutil.Popen(
                [*_UP, "--data", self.data, "--http-port", str(free_port()), *options],
                stdin=terminal,
                stdout=out if terminal is None else terminal,
                stderr=subprocess.STDOUT,
                start_new_session=terminal is not None,
                preexec_fn=_take_terminal if terminal is not None else None,
            )
        self._seen: set[psutil.Process] = set()

    def remember_processes(self) -> None:
        """Note which processes must be gone later."""
        self._seen |= set(self.process.children(recursive=True))

    @property
    def output(self) -> str:
        return self._output.read_text()

    def pid_of(self, part: str) -> int | None:
        for child in self.process.children():
            with contextlib.suppress(psutil.Error):
                if _PARTS[part] in child.cmdline() or _PARTS[part] in " ".join(child.cmdline()[:4]):
                    return child.pid
        return None

    def wait_for(self, text: str, timeout_s: float = 120) -> None:
        def said() -> bool:
            assert self.process.is_running(), self.output
            assert self.process.poll() is None, self.output
            self.remember_processes()
            return text in self.output

        wait_until(said, f"{text!r} in\n{self.output}", timeout_s=timeout_s)

    def kill(self, *parts: str) -> None:
        """Kill parts as a crash would and wait until the supervisor says that all are back."""
        pids = {part: self.pid_of(part) for part in parts}
        for pid in pids.values():
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        for part, pid in pids.items():
            self.wait_for(f"{part} is ready again", timeout_s=90)
            assert self.pid_of(part) not in (None, pid)

    def end(self, number: signal.Signals, timeout_s: float = 60) -> int:
        """Send the supervisor a signal and return its exit code."""
        self.remember_processes()
        if self.process.poll() is None:
            self.process.send_signal(number)
        code: int = self.process.wait(timeout_s)
        return code

    def nothing_left(self, timeout_s: float = 10) -> bool:
        _, alive = psutil.wait_procs(self._seen, timeout_s)
        return not alive

    def rows(self) -> int:
        url = (self.data / "database.url").read_text()
        with psycopg.connect(url, connect_timeout=5) as connection:
            return _count_readings(connection)

    def wait_for_growth(self) -> None:
        """Return when the database has more rows than now."""
        before: list[int] = []

        def grown() -> bool:
            # The database's address is written when every part is ready.
            with contextlib.suppress(psycopg.OperationalError, FileNotFoundError):
                before.append(self.rows())
            return bool(before) and before[-1] > before[0]

        wait_until(grown, "rows growing", timeout_s=60, every_s=0.5)


def _take_terminal() -> None:
    """Make standard input the terminal that the new session hangs on."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _count_readings(connection: psycopg.Connection[tuple[object, ...]]) -> int:
    names = connection.execute(
        "SELECT tablename FROM pg_tables WHERE tablename LIKE 'readings\\_%'"
    ).fetchall()
    total = 0
    for (name,) in names:
        row = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # type: ignore[arg-type]
        assert row is not None
        total += int(str(row[0]))
    return total


@pytest.fixture
def up() -> Iterator[Callable[..., Up]]:
    made: list[Up] = []
    # Not pytest's folder: another run of pytest closes that to PostgreSQL's user at any moment.
    with tempfile.TemporaryDirectory(prefix="civicstream-") as folder:

        def start(*options: str, terminal: int | None = None) -> Up:
            made.append(Up(Path(folder), *options, terminal=terminal))
            return made[-1]

        yield start
        for one in made:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()
            one.nothing_left()


def _rows_at_rest(data: Path) -> int:
    """Start the database of a stopped stack alone, and count."""
    database = EmbeddedDatabase(data / "database", free_port(), data / "logs" / "after.log")
    child = database.launch()
    child.wait_ready(database.ready)
    try:
        with psycopg.connect(database.url()) as connection:
            return _count_readings(connection)
    finally:
        child.stop()


def _published(data: Path) -> int:
    """What the simulated city says it published and got acknowledged."""
    last = (data / "logs" / "simulator.log").read_text().splitlines()[-1]
    counts = json.loads(last)
    assert counts["published"] == counts["acked"]
    return int(counts["acked"])


def test_rows_grow_and_ctrl_c_ends_everything_with_every_reading_stored(
    up: Callable[..., Up],
) -> None:
    stack = up("--sensors", "200", "--rate", "200")
    stack.wait_for("simulator is ready")
    stack.wait_for_growth()
    stack.wait_for("rows/s")

    second = subprocess.run(
        [*_UP, "--data", stack.data], check=False, capture_output=True, text=True
    )
    assert second.returncode == 2
    assert "another `civicstream up`" in second.stderr

    assert stack.end(signal.SIGINT) == 0
    assert stack.nothing_left()
    assert "everything has stopped" in stack.output
    assert "was killed" not in stack.output
    assert not (stack.data / "civicstream.toml").exists()
    published = _published(stack.data)
    assert published > 200
    assert _rows_at_rest(stack.data) == published


@pytest.mark.fault
def test_killed_parts_come_back_and_no_acknowledged_reading_is_lost_or_stored_twice(
    up: Callable[..., Up],
) -> None:
    stack = up("--sensors", "200", "--rate", "200")
    stack.wait_for("simulator is ready")
    stack.kill("gateway", "worker", "sink", "database")
    stack.wait_for_growth()
    assert stack.end(signal.SIGTERM) == 0
    assert stack.nothing_left()
    assert "4 restarts" in stack.output
    assert _rows_at_rest(stack.data) == _published(stack.data)


@pytest.mark.fault
def test_killed_brokers_come_back_with_all_that_depends_on_them(up: Callable[..., Up]) -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    stack = up("--sensors", "200", "--rate", "200")
    stack.wait_for("simulator is ready")
    gateway = stack.pid_of("gateway")
    stack.kill("mqtt")
    assert stack.pid_of("gateway") == gateway  # it connects again by itself
    stack.wait_for_growth()
    stack.kill("kafka")
    stack.wait_for_growth()
    assert stack.pid_of("gateway") == gateway
    assert stack.end(signal.SIGINT) == 0
    assert stack.nothing_left()


@pytest.mark.fault
def test_nothing_is_left_when_the_supervisor_is_killed_and_the_next_run_goes_on(
    up: Callable[..., Up],
) -> None:
    options = ("--no-mosquitto", "--sensors", "100", "--rate", "100")
    stack = up(*options)
    stack.wait_for("simulator is ready")
    stack.wait_for_growth()
    before = stack.rows()
    assert stack.end(signal.SIGKILL) == -signal.SIGKILL
    assert stack.nothing_left()

    again = up(*options, "--duration", "1")
    assert again.process.wait(90) == 0
    assert again.nothing_left()
    assert _rows_at_rest(again.data) > before


def test_servers_given_by_address_are_used_and_not_started(
    up: Callable[..., Up], mosquitto: MqttSettings, kafka: KafkaSettings, postgres: str
) -> None:
    parameters = psycopg.conninfo.conninfo_to_dict(postgres)
    url = f"postgresql://{parameters['user']}@/{parameters['dbname']}?host={parameters['host']}"
    stack = up(
        "--mqtt",
        f"127.0.0.1:{mosquitto.port}",
        "--kafka",
        kafka.bootstrap,
        "--database",
        url,
        "--no-simulator",
    )
    stack.wait_for("gateway is ready")
    stack.wait_for("sink is ready")
    names = {part for part in _PARTS if stack.pid_of(part)}
    assert names == {"gateway", "worker", "sink", "feeds", "alerts", "deliver"}
    reading = json.dumps({"ts": now_ms(), "LAeq": 61.5})
    topic = "city/v1/noise/north/n1"
    mqtt_publish.single(topic, reading, qos=1, hostname="127.0.0.1", port=mosquitto.port)

    def stored() -> bool:
        with psycopg.connect(postgres) as connection:
            return _count_readings(connection) == 1

    wait_until(stored, "the reading in the given database", timeout_s=30, every_s=0.2)
    assert stack.end(signal.SIGINT) == 0
    assert stack.nothing_left()


@pytest.mark.fault
@pytest.mark.timeout(400)
def test_it_runs_on_three_brokers_of_somebody_else_of_which_the_first_is_down(
    up: Callable[..., Up], kafka_cluster: KafkaCluster, tmp_path: Path
) -> None:
    config = tmp_path / "three.toml"
    config.write_text("[kafka]\nreplication = 3\npartitions = 4\n")
    kafka = kafka_cluster.settings()
    kafka_cluster.kill(0)
    stack = up(
        "--kafka",
        kafka.bootstrap,
        "--config",
        config,
        "--sensors",
        "100",
        "--rate",
        "50",
    )
    stack.wait_for("logs      ", 200)
    assert f"Kafka     {kafka.bootstrap}" in stack.output
    assert stack.pid_of("kafka") is None
    stack.wait_for_growth()
    kafka_cluster.launch(0)
    kafka_cluster.wait_ready(kafka)
    kafka_cluster.kill(1)
    stack.wait_for_growth()
    assert stack.end(signal.SIGINT) == 0
    assert stack.nothing_left()
    assert "restarts" not in stack.output, stack.output
    assert _rows_at_rest(stack.data) == _published(stack.data)


def test_the_line_it_prints_sends_a_reading_and_commands_in_the_folder_find_the_stack(
    up: Callable[..., Up],
) -> None:
    if shutil.which("mosquitto_pub") is None:
        pytest.skip("mosquitto_pub is not installed; run tests/servers.sh")
    stack = up("--sensors", "40", "--rate", "20")
    stack.wait_for("logs      ")
    addresses = dict(
        re.findall(r"^(open|MQTT|send|Kafka|database) +(.+)$", stack.output, re.MULTILINE)
    )
    assert set(addresses) == {"open", "MQTT", "send", "Kafka", "database"}
    subprocess.run(["sh", "-c", addresses["send"]], check=True, timeout=30)
    url = (stack.data / "database.url").read_text()
    mine = "SELECT 1 FROM readings_noise JOIN sensors USING (sensor_key) WHERE sensor = 'my-sensor'"

    def stored() -> bool:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute(mine).fetchone() is not None

    wait_until(stored, "the reading in the database", timeout_s=60, every_s=0.5)
    known = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    for command in (
        ("token", "create", "desk-1", "--scope", "read"),
        ("tail", "ledger", "--from", "beginning", "--limit", "1"),
        ("health", "sink", "--timeout", "60"),
        ("audit", "verify"),
        ("ledger",),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "stack.cli", *command],
            cwd=stack.data.parent,
            env=known,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        assert "of the running stack, data/civicstream.toml" in done.stderr.splitlines()[0]
    assert stack.end(signal.SIGINT) == 0
    assert stack.nothing_left()


class Terminal:
    """A pseudo-terminal: ``side`` is for the program; what it shows is read all the time."""

    def __init__(self) -> None:
        self._ours, self.side = os.openpty()
        termios.tcsetwinsize(self.side, (24, 80))
        self._shown = bytearray()
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while not self._closing.is_set():
            if select.select([self._ours], [], [], 0.1)[0]:
                self._shown += os.read(self._ours, 65536)

    @property
    def text(self) -> str:
        return self._shown.decode(errors="replace")

    def close(self) -> None:
        """Go away as a closed window does: SIGHUP for the program, and every write fails."""
        self._closing.set()
        self._reader.join()
        os.close(self._ours)


def test_a_line_of_figures_is_shown_and_a_closed_terminal_stops_the_stack_in_order(
    up: Callable[..., Up],
) -> None:
    terminal = Terminal()
    stack = up("--sensors", "100", "--rate", "100", terminal=terminal.side)
    os.close(terminal.side)
    try:
        for expected in (
            "simulator is ready",
            "open      http://127.0.0.1:",
            "readings/s",
            "rows/s",
        ):
            wait_until(partial(_contains, terminal, expected), expected, timeout_s=120)
        stack.wait_for_growth()
        stack.remember_processes()
    finally:
        terminal.close()
    assert stack.process.wait(60) == 0
    assert stack.nothing_left()
    assert _rows_at_rest(stack.data) == _published(stack.data)


def _contains(terminal: Terminal, text: str) -> bool:
    return text in terminal.text


def test_a_port_in_use_is_said_before_anything_is_started(
    up: Callable[..., Up], mosquitto: MqttSettings
) -> None:
    stack = up("--mqtt-port", str(mosquitto.port))
    assert stack.process.wait(60) == 2
    assert f"--mqtt-port {mosquitto.port}: another program listens on that port" in stack.output
    assert "is ready" not in stack.output
    assert stack.nothing_left()
