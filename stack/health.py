"""`civicstream health PART`: does this part work now? For the health checks of containers.

A part is healthy when its next ledger report arrives through Kafka: the process runs, its loop
turns, and Kafka confirms what it sends. Reports come every second.
"""

from __future__ import annotations

import time

import msgspec
from kafka import TopicPartition

from civicstream.clock import wall_ms
from civicstream.errors import ServerUnavailable
from civicstream.events import LedgerReport
from civicstream.kafka.clients import consumer, wait_for_kafka
from civicstream.settings import KafkaSettings, Settings
from civicstream.topics import topic_name

__all__ = ["instance_of", "wait_for_report"]


def instance_of(settings: Settings, stage: str) -> str:
    """Return the instance that a process of the stage with these settings reports as."""
    ids = {
        "gateway": settings.gateway.id,
        "worker": settings.worker.id,
        "sink": settings.sink.id,
        "feeds": settings.feeds.id,
        "alerts": settings.alerts.id,
        "deliver": settings.deliver.id,
    }
    return ids[stage]


def wait_for_report(
    kafka: KafkaSettings, stage: str, instance: str, *, timeout_s: float
) -> LedgerReport:
    """Return the next report of the process; raise ServerUnavailable when none comes in time."""
    asked_ms, deadline = wall_ms(), time.monotonic() + timeout_s
    wait_for_kafka(kafka, timeout_s)
    partition = TopicPartition(topic_name(kafka.topic_prefix, "ledger"), 0)
    reader = consumer(kafka, group_id=None)
    try:
        reader.assign([partition])
        reader.seek_to_end(partition)
        while time.monotonic() < deadline:
            for record in reader.poll(timeout_ms=200).get(partition, ()):
                if record.value is None:
                    continue  # of a process that ended long ago
                report = msgspec.json.decode(record.value, type=LedgerReport)
                if (report.stage, report.instance) == (stage, instance) and report.at >= asked_ms:
                    return report
    finally:
        reader.close()
    raise ServerUnavailable(
        f"{stage} {instance!r} sent no ledger report within {timeout_s:g} s; see its log"
    )
