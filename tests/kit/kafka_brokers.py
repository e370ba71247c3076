"""Real Kafka brokers for the tests that are about brokers: several, secured, killed, restarted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from kafka.errors import KafkaError

from civicstream.kafka.clients import admin_client
from civicstream.settings import KafkaSettings
from stack.servers.kafka_broker import BrokerOptions, launch_broker
from stack.servers.processes import Child, free_port, port_answers, wait_until

HEAP_MB = 256


class KafkaCluster:
    """Brokers of one cluster, each broker and controller, a process of its own; by number, from 0.

    ``properties`` come over those of the embedded broker. When constructed, all are started.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._ports = [(free_port(), free_port()) for _ in range(count)]
        self._properties = dict(properties or {})
        self.children: dict[int, Child] = {}
        for number in range(count):
            self.launch(number)

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port, _ in self._ports)

    def settings(self) -> KafkaSettings:
        count = len(self._ports)
        return KafkaSettings(
            bootstrap=self.bootstrap, partitions=4, replication=count, session_timeout_ms=6000
        )

    def _options(self, number: int) -> BrokerOptions:
        port, controller = self._ports[number]
        voters = [f"{i + 1}@127.0.0.1:{c}" for i, (_, c) in enumerate(self._ports)]
        copies, insync = len(self._ports), min(2, len(self._ports))
        own = {
            "node.id": str(number + 1),
            "controller.quorum.voters": ",".join(voters),
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "offsets.topic.replication.factor": str(copies),
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": str(insync),
        }
        properties = own | self._properties
        folder = self.folder / f"kafka-{number}"
        return BrokerOptions(port, folder, heap_mb=HEAP_MB, fsync=False, properties=properties)

    def launch(self, number: int) -> None:
        """Start a broker; it may not answer yet."""
        self.children[number] = launch_broker(self._options(number))

    def kill(self, number: int) -> None:
        """kill -9."""
        self.children.pop(number).kill()

    def wait_ready(self, kafka: KafkaSettings, timeout_s: float = 60) -> None:
        """Return when all brokers that run are known to the cluster."""

        # First the ports: a client of an absent broker leaves its sockets to the garbage collector.
        def listening() -> bool:
            for child in self.children.values():
                assert child.alive(), child.last_words(30)
            return all(port_answers(self._ports[number][0]) for number in self.children)

        def all_there() -> bool:
            with contextlib.suppress(KafkaError, OSError):
                admin = admin_client(kafka, bootstrap_timeout_ms=3_000)
                try:
                    brokers = admin.describe_cluster()["brokers"]
                    return sum(not b.get("is_fenced") for b in brokers) == len(self.children)
                finally:
                    admin.close()
            return False

        wait_until(listening, "the brokers' ports", timeout_s=timeout_s, every_s=0.1)
        wait_until(all_there, "the brokers", timeout_s=timeout_s, every_s=0.3)

    def stop(self) -> None:
        """End all at once: nothing they hold is needed any more."""
        for child in self.children.values():
            child.kill()
        self.children.clear()


@contextlib.contextmanager
def kafka_brokers(
    folder: Path, count: int = 1, properties: Mapping[str, str] | None = None
) -> Iterator[KafkaCluster]:
    """Brokers without security, ready; they end with the block."""
    cluster = KafkaCluster(folder, count, properties)
    try:
        cluster.wait_ready(cluster.settings())
        yield cluster
    finally:
        cluster.stop()
