"""The embedded Kafka: Apache Kafka, one KRaft node on loopback, its log kept between runs."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from kafka.errors import KafkaError

from civicstream.errors import ServerUnavailable
from civicstream.kafka.clients import admin_client
from civicstream.settings import KafkaSettings
from stack.servers.kafka_jars import fetch_jars, jar_cache, java_program, pinned_jars
from stack.servers.processes import Child, check_port_free, free_port, port_answers

__all__ = ["BrokerOptions", "broker_answers", "launch_broker", "start_broker"]

_JVM = (
    "-XX:+UseSerialGC",
    # Kafka's own use of it, which newer Java warns about at every start.
    "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    "-Djava.awt.headless=true",
)

_CLUSTER_ID = "Y2l2aWNzdHJlYW0tb25lMQ"
"""Of a broker that stands alone; Kafka wants one, 16 bytes in base64."""


@dataclass(frozen=True)
class BrokerOptions:
    """``folder`` keeps its log and configuration."""

    port: int
    folder: Path
    heap_mb: int = 512
    fsync: bool = True
    """Write every record to the disk before it is confirmed: a power cut loses none."""
    advertised_port: int | None = None
    """Where clients are sent to, if not ``port``: the near end of a link."""
    properties: dict[str, str] = field(default_factory=dict)
    """Broker properties over ours."""


def broker_properties(options: BrokerOptions, controller_port: int) -> dict[str, str]:
    """Return the broker's configuration (server.properties)."""
    listener = f"PLAINTEXT://127.0.0.1:{options.port}"
    advertised = f"PLAINTEXT://127.0.0.1:{options.advertised_port or options.port}"
    controller = f"127.0.0.1:{controller_port}"
    properties = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"{listener},CONTROLLER://{controller}",
        "advertised.listeners": advertised,
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(options.folder / "log"),
        # A topic that comes into being by itself has the broker's partitions, not ours.
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": "8",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # The first member of a group need not wait for a second.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # Its own topics are small; only whole segments can be compacted or dropped.
        "offsets.topic.segment.bytes": str(4 << 20),
        "transaction.state.log.segment.bytes": str(4 << 20),
        "metadata.log.segment.bytes": str(8 << 20),
        "metadata.max.retention.bytes": str(32 << 20),
        "log.retention.check.interval.ms": "30000",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
        "log.index.size.max.bytes": str(1 << 20),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }
    if options.fsync:
        properties["log.flush.interval.messages"] = "1"
    return properties | options.properties


def launch_broker(options: BrokerOptions, log_file: Path | None = None) -> Child:
    """Start Apache Kafka on ``options.folder``; it may not answer yet.

    Raise ServerUnavailable or ConfigurationError when its programs cannot be had.
    """
    check_port_free(options.port, "the Kafka broker")
    options.folder.mkdir(parents=True, exist_ok=True)
    java = java_program()
    jars = fetch_jars(pinned_jars(), jar_cache())
    classpath = ":".join(str(jar) for jar in jars)
    config = options.folder / "server.properties"
    properties = broker_properties(options, free_port())
    config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), "utf-8")
    if not (options.folder / "log" / "meta.properties").exists():
        _format(java, classpath, config)
    heap = (f"-Xms{min(128, options.heap_mb)}m", f"-Xmx{options.heap_mb}m")
    command: list[str | Path] = [java, *heap, *_JVM, "-cp", classpath, "kafka.Kafka", config]
    return Child("kafka", command, log_file or options.folder / "kafka.log")


def broker_answers(port: int) -> bool:
    """Whether the broker on ``port`` of loopback serves clients."""
    if not port_answers(port):  # the cheap question first: this one is asked often
        return False
    try:
        admin_client(KafkaSettings(bootstrap=f"127.0.0.1:{port}"), bootstrap_timeout_ms=500).close()
    except KafkaError:
        return False
    return True


def start_broker(options: BrokerOptions) -> Child:
    """Start Apache Kafka and return it when it answers."""
    child = launch_broker(options)
    child.wait_ready(lambda: broker_answers(options.port), timeout_s=60)
    return child


def _format(java: Path, classpath: str, config: Path) -> None:
    """Prepare an empty log folder, as a new KRaft node wants it."""
    command: list[str | Path] = [
        java,
        "-Xmx128m",
        *_JVM,
        "-XX:TieredStopAtLevel=1",
        "-cp",
        classpath,
    ]
    command += ["kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerUnavailable(
            f"the embedded Kafka could not prepare {config.parent}:\n{done.stdout}{done.stderr}"
        )
