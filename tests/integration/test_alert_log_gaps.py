"""Where the alert process begins to read, on a real broker."""

from __future__ import annotations

from kafka import TopicPartition

from alerts.alert_input import AlertInput
from alerts.rules.sources import SOURCES
from civicstream.clock import now_ms
from civicstream.kafka.log_gaps import Position
from civicstream.kafka.topic_admin import create_topics
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings, Settings
from civicstream.topics import topic_name
from tests.kit.alert_runs import Results


def test_a_log_whose_records_are_all_newer_than_what_was_read_is_read_from_its_beginning(
    kafka: KafkaSettings,
) -> None:
    create_topics(kafka)
    before_ms = now_ms() - 5_000
    results = Results(kafka)
    for number in range(10):
        results.window("north", before_ms + number * 60_000, {"s1": 10.0})
    results.close()
    topic = topic_name(kafka.topic_prefix, "results.traffic")
    place = TopicPartition(topic, partition_of("north", kafka.partitions))
    reader = AlertInput(Settings(kafka=kafka))
    try:
        read = {place: Position(5, reader.topic_id(topic), before_ms)}
        placed = reader.place(read, now_ms(), dict.fromkeys((*SOURCES, "actions"), 0))[place]
        assert (placed.live.next_offset, placed.target) == (0, 10)
        assert placed.gap is not None
        assert (placed.gap.reason, placed.gap.first, placed.gap.end) == ("log_truncated", 0, 5)
        read = {place: Position(10, reader.topic_id(topic), now_ms())}
        again = reader.place(read, now_ms(), dict.fromkeys((*SOURCES, "actions"), 0))[place]
        assert (again.live, again.gap) == (read[place], None)
    finally:
        reader.close()
