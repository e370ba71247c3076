"""The declared topics on real brokers: complete when `init` returns, set as declared, checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import KafkaTimeoutError

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.kafka.clients import admin_client, consumer, producer
from civicstream.kafka.topic_admin import create_topics, topic_settings, wait_for_topics
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS, topic_name
from stack.servers.processes import wait_until
from tests.kit.kafka_brokers import KafkaCluster, kafka_brokers

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker that makes whatever topic somebody asks for, as Kafka does by default."""
    folder = tmp_path_factory.mktemp("kafka")
    with kafka_brokers(folder, properties={"auto.create.topics.enable": "true"}) as cluster:
        yield cluster


def _settings_of(kafka: KafkaSettings, name: str) -> dict[str, str]:
    topic = topic_name(kafka.topic_prefix, name)
    admin = admin_client(kafka)
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = admin.describe_configs([resource], config_filter="all")["topic"][topic]
    finally:
        admin.close()
    return {key: entry["value"] for key, entry in found.items()}


@pytest.mark.parametrize("attempt", range(5))
def test_topics_of_a_fresh_broker_are_complete_when_init_returns(
    tmp_path: Path, attempt: int
) -> None:
    with kafka_brokers(tmp_path) as cluster:
        kafka = cluster.settings()
        assert len(create_topics(kafka)) == len(TOPICS)
        assert create_topics(kafka) == []
        wait_for_topics(kafka, timeout_s=0)


def test_every_topic_has_the_declared_settings(broker: KafkaCluster) -> None:
    kafka = broker.settings().model_copy(update={"topic_prefix": "declared"})
    create_topics(kafka)
    for name, topic in TOPICS.items():
        assert topic_settings(kafka, topic).items() <= _settings_of(kafka, name).items(), name
    frames = _settings_of(kafka, "frames.traffic")
    assert frames["message.timestamp.type"] == "LogAppendTime"
    assert frames["unclean.leader.election.enable"] == "false"


def test_settings_that_differ_are_put_right_and_others_left_alone(broker: KafkaCluster) -> None:
    kafka = broker.settings().model_copy(update={"topic_prefix": "differ"})
    create_topics(kafka)
    topic = topic_name("differ", "frames.air")
    admin = admin_client(kafka)
    new = {"message.timestamp.type": "CreateTime", "max.message.bytes": "5000", "segment.ms": "1"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, new)])
    admin.close()
    assert create_topics(kafka) == []
    found = _settings_of(kafka, "frames.air")
    assert topic_settings(kafka, TOPICS["frames.air"]).items() <= found.items()
    assert found["segment.ms"] == "1"


def test_a_record_has_the_broker_s_time_and_not_its_producer_s(broker: KafkaCluster) -> None:
    kafka = broker.settings().model_copy(update={"topic_prefix": "time"})
    create_topics(kafka)
    sender = producer(kafka)
    day_ms = 86_400_000
    for name in ("frames.air", "cases"):
        sender.send(topic_name("time", name), b"x", partition=0, timestamp_ms=day_ms).get(20)
    sender.close()
    reader = consumer(kafka, group_id=None)
    try:
        times: dict[str, int] = {}
        reader.subscribe([topic_name("time", "frames.air"), topic_name("time", "cases")])
        while len(times) < 2:
            for records in reader.poll(timeout_ms=500).values():
                times |= {record.topic: record.timestamp for record in records}
    finally:
        reader.close()
    assert min(times.values()) > 20_000 * day_ms


def test_a_topic_with_the_brokers_own_partitions_is_refused_with_the_remedy(
    broker: KafkaCluster,
) -> None:
    kafka = broker.settings().model_copy(update={"topic_prefix": "stray"})
    stray = topic_name("stray", "frames.air")
    admin = admin_client(kafka)
    admin.create_topics([NewTopic(stray, 1, 1)])
    with pytest.raises(ConfigurationError, match=r"has 1 partitions, the settings say 4") as caught:
        create_topics(kafka)
    assert f"--delete --topic {stray}" in str(caught.value)
    admin.delete_topics([stray])
    wait_until(lambda: stray not in admin.list_topics(), "its end", timeout_s=20)
    admin.close()
    assert create_topics(kafka) == [stray]


def test_our_clients_never_make_the_broker_create_a_topic(broker: KafkaCluster) -> None:
    kafka = broker.settings().model_copy(update={"topic_prefix": "nobody"})
    with pytest.raises(ServerUnavailable, match=r"nobody\..*run `civicstream init`"):
        wait_for_topics(kafka, timeout_s=1)
    reader = consumer(kafka, group_id=None)
    reader.subscribe([topic_name("nobody", "cases")])
    reader.poll(timeout_ms=1_000)
    reader.close()
    sender = producer(kafka, max_block_ms=1_000)
    with pytest.raises(KafkaTimeoutError):
        sender.send(topic_name("nobody", "alerts"), b"x")
    sender.close(timeout=1)
    admin = admin_client(kafka)
    shown = admin.list_topics()
    admin.close()
    assert not [name for name in shown if name.startswith("nobody.")]


def test_copies_other_than_set_are_refused_and_brokers_that_lack_are_named(
    broker: KafkaCluster,
) -> None:
    kafka = broker.settings().model_copy(update={"topic_prefix": "copies"})
    three = kafka.model_copy(update={"replication": 3})
    with pytest.raises(ConfigurationError, match="with 3 copies"):
        create_topics(three)
    create_topics(kafka)
    with pytest.raises(ConfigurationError, match="has 1 copies, the settings say 3"):
        create_topics(three)
