"""Real servers for the tests, each started on a free port in a temporary folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from civicstream.kafka.clients import admin_client
from civicstream.settings import KafkaSettings
from stack.servers.kafka_broker import BrokerOptions, start_broker
from stack.servers.processes import Child, free_port, wait_until

CACHE = Path(
    os.environ.get("TEST_SERVERS_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "civicstream"
)
TIMESCALE_ROOT = CACHE / "timescaledb"


def timescaledb_missing() -> str | None:
    """Return why TimescaleDB cannot be started here, or None."""
    if not (TIMESCALE_ROOT / ".complete").exists():
        return "TimescaleDB is not installed; run tests/servers.sh as root on Debian"
    return None if os.geteuid() == 0 else "starting TimescaleDB (chroot) needs root"


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL cluster; ``admin_url`` is its superuser."""

    admin_url: str
    child: Child | None = None

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Create an empty database, yield its superuser URL, drop it."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield psycopg.conninfo.make_conninfo(self.admin_url, dbname=name)
        finally:
            with psycopg.connect(self.admin_url, autocommit=True) as admin:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class TimescaleServer:
    """TimescaleDB from Debian 13 in its chroot, as a child that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "timescaledb.log"
        self.inside = Path("tmp") / f"cluster-{uuid.uuid4().hex[:12]}"
        self._run("initdb", "-D", f"/{self.inside}", "-U", "postgres", "-A", "trust", "--no-sync")
        (TIMESCALE_ROOT / self.inside / "postgresql.auto.conf").write_text(
            "shared_preload_libraries = 'timescaledb'\n"
            "timescaledb.telemetry_level = off\n"
            "listen_addresses = '127.0.0.1'\n"
            f"unix_socket_directories = '/{self.inside}'\n"
            f"port = {self.port}\n"
            "dynamic_shared_memory_type = mmap\n"
            "shared_buffers = 512MB\n"
            "max_wal_size = 4GB\n"
            "fsync = off\n"  # a power cut is not among the faults tested
        )
        self.url = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"
        self.child = self._start()

    def _command(self, program: str, *arguments: str) -> list[str]:
        binary = f"/usr/lib/postgresql/17/bin/{program}"
        return ["chroot", "--userspec=postgres", str(TIMESCALE_ROOT), binary, *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        child = Child(program, self._command(program, *arguments), self.log)
        wait_until(lambda: not child.alive(), program, timeout_s=60)
        if child.returncode:
            raise RuntimeError(f"{program} failed:\n{child.last_words()}")

    def _start(self) -> Child:
        arguments = self._command("postgres", "-D", f"/{self.inside}")
        child = Child("timescaledb", arguments, self.log)
        child.wait_ready(self._answers)
        return child

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(self.url, connect_timeout=2).close()
            return True
        return False

    def stop(self) -> None:
        self.child.kill() if self.child.alive() else None

    def restart(self) -> None:
        self.stop()
        (TIMESCALE_ROOT / self.inside / "postmaster.pid").unlink(missing_ok=True)
        self.child = self._start()

    def remove(self) -> None:
        self.child.stop()
        shutil.rmtree(TIMESCALE_ROOT / self.inside, ignore_errors=True)


def start_kafka(
    port: int,
    folder: Path,
    *,
    advertised_port: int | None = None,
    properties: dict[str, str] | None = None,
) -> Child:
    """Start Apache Kafka on ``folder`` and return it when it answers.

    What a kill -9 leaves behind is whole without fsync, which only a power cut needs.
    """
    # Topics of tests that are over need not lie about for a minute.
    own = {"file.delete.delay.ms": "1000"} | (properties or {})
    return start_broker(
        BrokerOptions(port, folder, fsync=False, advertised_port=advertised_port, properties=own)
    )


def delete_topics(kafka: KafkaSettings) -> None:
    """Delete every topic below the topic prefix."""
    admin = admin_client(kafka)
    try:
        names = [t for t in admin.list_topics() if t.startswith(f"{kafka.topic_prefix}.")]
        if names:
            admin.delete_topics(names)
    finally:
        admin.close()


class TcpProxy:
    """A TCP link on loopback that can be cut and restored."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._up = threading.Event()
        self._up.set()
        self._closed = False
        self._links: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._up.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._links |= {near, far}
            self._spawn(self._pump, near, far)
            self._spawn(self._pump, far, near)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        self._drop(source, target)

    def _drop(self, *links: socket.socket) -> None:
        for link in links:
            self._links.discard(link)
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        self._up.clear()
        self._drop(*self._links)

    def restore(self) -> None:
        self._up.set()

    def close(self) -> None:
        self._closed = True
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
