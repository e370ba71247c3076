"""A start of the gateway sends on what earlier starts have left on the topic ``parked``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from kafka import TopicPartition as KafkaPartition

from civicstream.clock import now_ms
from civicstream.events import LedgerReport
from civicstream.frames import Dictionary, Frame, FrameHeaders, encode
from civicstream.kafka.clients import consumer, producer
from civicstream.kafka.topic_admin import create_topics
from civicstream.kinds import KINDS, sensor_key
from civicstream.settings import KafkaSettings, MqttSettings
from civicstream.topics import topic_name
from ingest.parked_reader import group_of
from ingest.parking import PARKED, ParkedNumber, Record, TopicPartition, parked_copy
from stack.servers.processes import wait_until
from tests.kit.gateway_runs import Arrivals, flood, gateway, keys_of, traffic

EPOCH = 1_795_000_000_000
PARTITION = 3
START = now_ms() - 600_000


@pytest.fixture
def arrivals(kafka: KafkaSettings) -> Iterator[Arrivals]:
    create_topics(kafka)
    with closing(Arrivals(kafka)) as found:
        yield found


def noise(seq: int, gateway_id: str = "g1") -> Record:
    """A frame of one reading that an earlier start of the gateway has made."""
    measures = {name: np.array([50.0]) for name in KINDS["noise"].measure_names}
    frame = Frame(
        kind=KINDS["noise"],
        sensor_key=np.array([sensor_key("noise", "north", "A7")]),
        sensor=Dictionary(np.zeros(1, np.int32), ["A7"]),
        area=Dictionary(np.zeros(1, np.int32), ["north"]),
        ts=np.array([START + seq]),
        measures=measures,
    )
    headers = FrameHeaders(gateway_id, EPOCH, seq, 1, START)
    return Record(TopicPartition("frames.noise", PARTITION), encode(frame), headers.to_kafka())


def leave_parked(kafka: KafkaSettings, records: list[Record], gateway_id: str = "g1") -> None:
    sender = producer(kafka)
    try:
        for number, record in enumerate(records):
            copy = parked_copy(record, ParkedNumber(gateway_id, EPOCH, number), 1)
            sender.send(
                topic_name(kafka.topic_prefix, PARKED),
                copy.value,
                key=copy.key,
                headers=copy.headers,
                partition=copy.place.partition,
            )
        sender.flush(timeout=30)
    finally:
        sender.close(timeout=10)


def arrived(arrivals: Arrivals, gateway_id: str = "g1") -> list[int]:
    return [
        h.seq
        for topic, partition, h in arrivals.frames
        if (topic.endswith("frames.noise"), partition) == (True, PARTITION)
        and (h.gateway, h.epoch) == (gateway_id, EPOCH)
    ]


def committed(kafka: KafkaSettings, gateway_id: str = "g1") -> int | None:
    topic = topic_name(kafka.topic_prefix, PARKED)
    with closing(consumer(kafka, group_id=kafka.scoped(group_of(gateway_id)))) as reader:
        found: int | None = reader.committed(KafkaPartition(topic, 1))
    return found


def report_of_nothing_parked(arrivals: Arrivals) -> LedgerReport:
    """Return it; each comes a while after what it tells of."""
    found: list[LedgerReport] = []

    def nothing() -> bool:
        found[:] = [arrivals.last_report()]
        gauges = found[0].gauges
        return (gauges["parked_records"], gauges["parked_noise"]) == (0, 0)

    wait_until(nothing, "the report that nothing is parked", timeout_s=30)
    return found[0]


def test_what_an_earlier_start_has_parked_is_sent_on_once_and_in_order_by_its_own_gateway(
    mosquitto: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    with gateway(mosquitto, kafka, arrivals, tmp_path):
        pass  # leaves its session at the broker
    leave_parked(kafka, [noise(seq) for seq in range(7, 507)])
    leave_parked(kafka, [noise(0, "g2")], "g2")
    new = traffic(50)
    flood(mosquitto.port, new, timeout_s=30)
    with gateway(mosquitto, kafka, arrivals, tmp_path):
        arrivals.wait_for(keys_of(new))
        wait_until(lambda: committed(kafka) == 501, "the place to be kept", timeout_s=30)
        report = report_of_nothing_parked(arrivals)
        written = [w.next for w in report.written if w.epoch == EPOCH]
        assert written == [507]
    assert arrived(arrivals) == list(range(7, 507))
    # The next start finds nothing of its own, and never touches another gateway's.
    with gateway(mosquitto, kafka, arrivals, tmp_path):
        arrivals.last_report()
    assert arrived(arrivals) == list(range(7, 507))
    assert arrived(arrivals, "g2") == []
    with gateway(mosquitto, kafka, arrivals, tmp_path, gateway__id="g2"):
        wait_until(
            lambda: arrivals.refresh() >= 0 and arrived(arrivals, "g2") == [0],
            "what g2 had parked",
            timeout_s=30,
        )
