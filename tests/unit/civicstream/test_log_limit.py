"""A limit on Kafka's log: all topics together stay below it, whatever each holds."""

from __future__ import annotations

import pytest

from civicstream.errors import ConfigurationError
from civicstream.kafka.topic_admin import topic_settings
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS


@pytest.mark.parametrize(("limit_mb", "partitions"), [(600, 4), (2_000, 4), (20_000, 8)])
def test_full_partitions_and_a_segment_each_stay_below_the_limit(
    limit_mb: int, partitions: int
) -> None:
    kafka = KafkaSettings(log_limit_mb=limit_mb, partitions=partitions)
    worst = 0
    for topic in TOPICS.values():
        if topic.compacted:
            continue
        config = topic_settings(kafka, topic)
        segment, retention = int(config["segment.bytes"]), int(config["retention.bytes"])
        assert segment >= topic.max_message_bytes
        worst += (segment + retention) * (topic.partitions or partitions)
    assert 0.9 * limit_mb * 1e6 < worst <= limit_mb * 1e6


def test_compacted_topics_and_no_limit_are_left_alone() -> None:
    limited = topic_settings(KafkaSettings(log_limit_mb=2_000), TOPICS["ledger"])
    assert "retention.bytes" not in limited
    assert "retention.bytes" not in topic_settings(KafkaSettings(), TOPICS["frames.air"])


def test_a_limit_without_room_for_the_partitions_says_what_would_do() -> None:
    kafka = KafkaSettings(log_limit_mb=100, partitions=100)
    with pytest.raises(ConfigurationError, match=r"log_limit_mb 100 is too little.*at least \d+"):
        topic_settings(kafka, TOPICS["frames.air"])
