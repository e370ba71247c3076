"""The machine loses its power: what was confirmed is there, in Kafka and in the database."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from civicstream.errors import CivicStreamError
from civicstream.kafka.clients import admin_client, consumer, producer
from civicstream.kafka.replay import read_to_end
from civicstream.kafka.topic_admin import create_topics
from civicstream.kafka.transactional import Outgoing, TransactionalSender
from civicstream.settings import KafkaSettings
from stack.servers.database import EmbeddedDatabase
from stack.servers.kafka_broker import BrokerOptions, broker_answers, launch_broker
from stack.servers.processes import Child, free_port
from tests.kit.power_cut import Disk, disk, disk_missing
from tests.kit.worker_runs import pause

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(240)]

LOAD_S = 6
GROUP = "city.readers"
RECORDS = "city.frames.noise"
PAIR = ("city.cases", "city.allocations")


@pytest.fixture
def cut_disk() -> Iterator[Disk]:
    if reason := disk_missing():
        pytest.skip(reason)
    # Not pytest's folder: PostgreSQL's user must be able to pass.
    with tempfile.TemporaryDirectory(prefix="civicstream-") as scratch:
        Path(scratch).chmod(0o755)
        with disk(Path(scratch)) as made:
            yield made


@dataclass
class Load:
    """What was sent to Kafka, and of it what was confirmed."""

    kafka: KafkaSettings
    stop: threading.Event = field(default_factory=threading.Event)
    sent: set[bytes] = field(default_factory=set)
    confirmed: set[bytes] = field(default_factory=set)
    committed: list[int] = field(default_factory=list)
    """Transactions: the offset in each that was confirmed."""
    topics: list[str] = field(default_factory=list)

    def records(self) -> None:
        """Plain records, some on their way at once, to every partition."""
        sender = producer(self.kafka, linger_ms=2, max_block_ms=2_000)
        number = 0
        while not self.stop.is_set():
            values = [b"record %d" % (number + i) for i in range(20)]
            number += len(values)
            self.sent.update(values)
            futures = [
                (v, sender.send(RECORDS, v, partition=i % self.kafka.partitions))
                for i, v in enumerate(values)
            ]
            for value, future in futures:
                with contextlib.suppress(KafkaError):
                    future.get(0 if self.stop.is_set() else 2)
                    self.confirmed.add(value)
        with contextlib.suppress(KafkaError):
            sender.close(timeout=0)
        sender._sender.join(5)

    def transactions(self) -> None:
        """Two records and an offset at a time."""
        reader = consumer(self.kafka, group_id=GROUP)
        group = reader.group_metadata()
        number = 0
        with (
            contextlib.suppress(CivicStreamError),
            contextlib.closing(TransactionalSender(self.kafka, "task", timeout_s=2)) as sender,
        ):
            sender.open()
            while not self.stop.is_set():
                number += 1
                value = b"transaction %d" % number
                self.sent.add(value)
                both = [Outgoing(topic, value, partition=0) for topic in PAIR]
                offset = {TopicPartition(RECORDS, 0): OffsetAndMetadata(number, "", -1)}
                sender.commit(both, offset, group)
                self.confirmed.add(value)
                self.committed.append(number)
        reader.close(autocommit=False, timeout_ms=0)

    def new_topics(self) -> None:
        admin = admin_client(self.kafka)
        with contextlib.suppress(KafkaError):
            while not self.stop.is_set():
                name = f"city.made-{len(self.topics)}"
                admin.create_topics([NewTopic(name, 1, 1)], timeout_ms=2_000)
                self.topics.append(name)
                self.stop.wait(0.2)
        admin.close()


@contextlib.contextmanager
def threads(*work: Callable[[], None]) -> Iterator[None]:
    running = [threading.Thread(target=one) for one in work]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        for thread in running:
            thread.join(60)
        assert not any(thread.is_alive() for thread in running)


def kafka_on(found: Disk, port: int, *, fsync: bool = True) -> Child:
    options = BrokerOptions(port, found.folder / "kafka", fsync=fsync)
    # Its messages are not on the disk: they are read afterwards.
    broker = launch_broker(options, found.folder.with_name("kafka.log"))
    broker.wait_ready(lambda: broker_answers(port), timeout_s=60)
    return broker


def cut_under_load(found: Disk, broker: Child, load: Load) -> None:
    with threads(load.records, load.transactions, load.new_topics):
        pause(LOAD_S)
        found.cut()
        broker.kill()
        load.stop.set()
    found.power_up()


def test_the_disk_forgets_what_was_not_synced_and_nothing_else(cut_disk: Disk) -> None:
    for name in ("synced", "not-synced"):
        with (cut_disk.folder / name).open("wb") as file:
            file.write(b"x" * 10_000)
            if name == "synced":
                file.flush()
                os.fsync(file.fileno())
    cut_disk.cut()
    with pytest.raises(OSError, match="Input/output error"):
        (cut_disk.folder / "after").touch()
    cut_disk.power_up()
    left = {f.name: f.stat().st_size for f in cut_disk.folder.iterdir() if f.is_file()}
    assert left.get("synced") == 10_000
    assert not left.get("not-synced")


def test_kafka_has_every_confirmed_record_transaction_offset_and_topic_after_a_power_cut(
    cut_disk: Disk,
) -> None:
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4)
    broker = kafka_on(cut_disk, port)
    create_topics(kafka)
    load = Load(kafka)
    cut_under_load(cut_disk, broker, load)
    broker = kafka_on(cut_disk, port)
    sender = TransactionalSender(kafka, "task")
    try:
        sender.open()  # what was decided before the cut is carried out first
        records = list(read_to_end(kafka, RECORDS, *PAIR))
        found = Counter(record.value for record in records)
        lost = load.confirmed - found.keys()
        admin = admin_client(kafka)
        topics = set(admin.list_topics())
        admin.close()
        with contextlib.closing(consumer(kafka, group_id=GROUP)) as reader:
            offset = reader.committed(TopicPartition(RECORDS, 0))
        print(  # noqa: T201
            f"{len(load.confirmed)} confirmed, {len(load.committed)} of them transactions, "
            f"{len(lost)} lost; {len(load.topics)} topics made"
        )
        assert len(load.confirmed) > 100
        assert len(load.committed) > 3
        assert lost == set()
        assert found.keys() <= load.sent
        halves = [v for v, n in found.items() if v.startswith(b"transaction") and n != 2]
        assert halves == []
        assert offset >= load.committed[-1]
        assert set(load.topics) <= topics
        sender.commit([Outgoing(PAIR[0], b"goes on", partition=0)])
        assert b"goes on" in {record.value for record in read_to_end(kafka, PAIR[0])}
    finally:
        sender.close()
        broker.stop()


def test_without_a_sync_for_each_record_kafka_loses_some(cut_disk: Disk) -> None:
    """It is the setting that keeps the promise."""
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4)
    broker = kafka_on(cut_disk, port, fsync=False)
    create_topics(kafka)
    load = Load(kafka)
    cut_under_load(cut_disk, broker, load)
    broker = kafka_on(cut_disk, port, fsync=False)
    try:
        found = {record.value for record in read_to_end(kafka, RECORDS, *PAIR)}
        print(f"{len(load.confirmed - found)} of {len(load.confirmed)} lost")  # noqa: T201
        assert load.confirmed - found
    finally:
        broker.stop()


def _kill_all(child: Child) -> None:
    """Also those it has started."""
    own = psutil.Process(child.pid)
    family = [*own.children(recursive=True), own]
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, 10)
    child.kill()


def test_the_database_has_every_committed_row_after_a_power_cut_right_after_its_first_start(
    cut_disk: Disk,
) -> None:
    log = cut_disk.folder.with_name("postgres.log")
    database = EmbeddedDatabase(cut_disk.folder / "database", free_port(), log)
    child = database.launch()
    child.wait_ready(database.ready)
    confirmed = 0
    with psycopg.connect(database.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int PRIMARY KEY, t text)")
        until = time.monotonic() + LOAD_S
        while time.monotonic() < until:
            connection.execute("INSERT INTO kept VALUES (%s, repeat('x', 500))", [confirmed])
            confirmed += 1
        cut_disk.cut()
    _kill_all(child)
    cut_disk.power_up()
    child = database.launch()
    try:
        child.wait_ready(database.ready)
        with psycopg.connect(database.url()) as connection:
            (found,) = connection.execute("SELECT count(*)::int FROM kept").fetchone() or (0,)
            for table in ("pg_class", "pg_attribute", "pg_proc", "pg_description", "pg_depend"):
                connection.execute(f"SELECT count(*) FROM (SELECT {table}::text FROM {table}) t")  # type: ignore[arg-type]
        print(f"{confirmed} rows committed, {found} there")  # noqa: T201
        assert confirmed > 100
        assert found == confirmed
    finally:
        child.stop()
