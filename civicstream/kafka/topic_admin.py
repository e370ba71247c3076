"""The declared topics on Kafka: made, waited for, held against their declaration."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.kafka.clients import admin_client
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS, Topic, topic_name

__all__ = ["create_topics", "describe", "topic_settings", "wait_for_topics"]

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.1
_REFUSALS = (
    ClusterAuthorizationFailedError,
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    PolicyViolationError,
    TopicAuthorizationFailedError,
)
"""Answers of Kafka that another attempt does not change."""
_FIRST_ANSWER_MS = 3_000
"""Who waits for topics has others to serve: a Kafka that is away is asked again later."""


def create_topics(kafka: KafkaSettings, *, timeout_s: float = 60) -> list[str]:
    """Create the declared topics that are missing, put settings right; return the names created.

    Returns when every topic is described with all its partitions and their leaders: what Kafka
    has created it does not know everywhere at once. Safe to run twice and from two processes.
    Raise ConfigurationError when a topic exists with another number of partitions or copies,
    ServerUnavailable when the topics are not complete in time.
    """
    deadline = time.monotonic() + timeout_s
    wanted = _declared(kafka, TOPICS)
    created: list[str] = []
    while True:
        admin = admin_client(kafka)
        try:
            missing = wanted.keys() - set(admin.list_topics())
            created += [n for n in wanted if n in missing and _create(admin, kafka, n)]
            _wait(admin, kafka, wanted, deadline)
            _correct_settings(admin, kafka, wanted)
        except KafkaError as error:
            # One of several brokers may be down, and the client asks it first.
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"Kafka at {kafka.bootstrap} did not create the topics: {error!r}"
                ) from error
            log.info("asking Kafka for the topics again: %r", error)
        else:
            return created
        finally:
            admin.close()
        time.sleep(_LOOK_AGAIN_S)


def wait_for_topics(
    kafka: KafkaSettings,
    names: Iterable[str] = TOPICS,
    *,
    timeout_s: float = 60,
    led: bool = True,
) -> None:
    """Return when the topics (without prefix) are there as declared, made by `init`.

    ``led``: and every partition has a leader; False for who can do without some of them. Raise as
    ``create_topics``. It needs the right to describe them, no more.
    """
    admin = admin_client(kafka, bootstrap_timeout_ms=_FIRST_ANSWER_MS)
    try:
        _wait(admin, kafka, _declared(kafka, names), time.monotonic() + timeout_s, led=led)
    finally:
        admin.close()


def describe(kafka: KafkaSettings, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return each topic (with prefix) as Kafka has it this moment: its id, its partitions.

    Raise ServerUnavailable when Kafka does not answer or does not have them all.
    """
    try:
        admin = admin_client(kafka, bootstrap_timeout_ms=_FIRST_ANSWER_MS)
        try:
            found = {topic["name"]: topic for topic in admin.describe_topics(sorted(names))}
        finally:
            admin.close()
    except (KafkaError, OSError) as error:
        raise ServerUnavailable(f"Kafka did not describe the topics: {error!r}") from error
    missing = [name for name in names if name not in found or found[name]["error_code"]]
    if missing:
        raise ServerUnavailable(f"Kafka has no topic {', '.join(missing)}; run `civicstream init`")
    return found


def topic_settings(kafka: KafkaSettings, topic: Topic) -> dict[str, str]:
    """Return Kafka's settings of the topic on this cluster."""
    limit = {} if topic.compacted or kafka.log_limit_mb is None else _log_limit(kafka, topic)
    return topic.config | {"min.insync.replicas": str(kafka.insync)} | limit


def _log_limit(kafka: KafkaSettings, topic: Topic) -> dict[str, str]:
    """Return the settings that keep all topics together, one copy of each, below the limit.

    Kafka drops whole segments, and only closed ones: a partition takes its retention and one
    segment more. Raise ConfigurationError where the limit leaves a partition no room.
    """
    total = sum(t.log_weight for t in TOPICS.values() if not t.compacted)
    topic_bytes = (kafka.log_limit_mb or 0) * 1_000_000 * topic.log_weight / total
    partition_bytes = int(topic_bytes / (topic.partitions or kafka.partitions))
    # A segment must hold the largest record batch; Kafka takes none below 1 MiB.
    segment_bytes = max(partition_bytes // 5, topic.max_message_bytes, 1 << 20)
    if partition_bytes < segment_bytes:
        enough_mb = (kafka.log_limit_mb or 0) * segment_bytes // partition_bytes + 1
        raise ConfigurationError(
            f"kafka.log_limit_mb {kafka.log_limit_mb} is too little for {kafka.partitions} "
            f"partitions of topic {topic.name}; give at least {enough_mb}, or fewer partitions"
        )
    return {
        "segment.bytes": str(segment_bytes),
        "retention.bytes": str(partition_bytes - segment_bytes),
    }


def _declared(kafka: KafkaSettings, names: Iterable[str]) -> dict[str, Topic]:
    return {topic_name(kafka.topic_prefix, name): TOPICS[name] for name in names}


def _create(admin: KafkaAdminClient, kafka: KafkaSettings, name: str) -> bool:
    """Return whether this process has created it, and no other; raise KafkaError to try again."""
    topic = TOPICS[name.removeprefix(kafka.topic_prefix + ".")]
    options = {
        "num_partitions": topic.partitions or kafka.partitions,
        "replication_factor": kafka.replication,
        "configs": topic_settings(kafka, topic),
    }
    try:
        admin.create_topics({name: options})
    except TopicAlreadyExistsError:
        log.info("topic %s was created by another process", name)
        return False
    except _REFUSALS as error:
        raise ConfigurationError(
            f"Kafka at {kafka.bootstrap} does not create topic {name} with {kafka.replication} "
            f"copies: {error}; it needs so many brokers, and an account with the right to create"
        ) from error
    return True


def _wait(
    admin: KafkaAdminClient,
    kafka: KafkaSettings,
    wanted: dict[str, Topic],
    deadline: float,
    *,
    led: bool = True,
) -> None:
    while True:
        described = {t["name"]: t for t in admin.describe_topics(list(wanted))}
        found = {name: _lacks(admin, described.get(name), led=led) for name in wanted}
        lacking = {name: why for name, why in found.items() if why is not None}
        if not lacking:
            break
        if time.monotonic() > deadline:
            name, why = next(iter(sorted(lacking.items())))
            raise ServerUnavailable(
                f"{len(lacking)} of {len(wanted)} topics on Kafka at {kafka.bootstrap} are not "
                f"complete, e.g. {name}: {why}; run `civicstream init`, look at the brokers"
            )
        time.sleep(_LOOK_AGAIN_S)
    for name, topic in wanted.items():
        _check_shape(kafka, topic, described[name])


def _lacks(admin: KafkaAdminClient, description: dict[str, Any] | None, *, led: bool) -> str | None:
    """Return why a topic cannot be used yet, None when it is complete."""
    if description and description["error_code"] == TopicAuthorizationFailedError.errno:
        raise ConfigurationError(
            f"this Kafka account may not describe topic {description['name']}; "
            "`civicstream init --kafka-acls` gives each part its rights"
        )
    if not led and description and not description["error_code"] and description["partitions"]:
        return None
    reason: str | None = admin._topic_not_ready_reason(description)
    return reason


def _check_shape(kafka: KafkaSettings, topic: Topic, description: dict[str, Any]) -> None:
    """Raise ConfigurationError for a number of partitions or copies other than declared.

    Nothing is put right here: areas would be split over two orders, and a topic that looks empty
    may have offsets that somebody remembers.
    """
    name = description["name"]
    expected = topic.partitions or kafka.partitions
    found = len(description["partitions"])
    if found != expected:
        remedy = (
            f"; delete the topic while it holds nothing (kafka-topics.sh --delete --topic {name}) "
            "and run `civicstream init`, "
            + ("" if topic.partitions else "set CIVICSTREAM_KAFKA__PARTITIONS to what exists, ")
            + "or use another topic prefix"
        )
        raise ConfigurationError(
            f"topic {name} has {found} partitions, the settings say {expected}" + remedy
        )
    copies = min(len(p["replica_nodes"]) for p in description["partitions"])
    if copies != kafka.replication:
        raise ConfigurationError(
            f"topic {name} has {copies} copies, the settings say {kafka.replication}; move it "
            "(kafka-reassign-partitions.sh) or set CIVICSTREAM_KAFKA__REPLICATION to what exists"
        )


def _correct_settings(
    admin: KafkaAdminClient, kafka: KafkaSettings, wanted: dict[str, Topic]
) -> None:
    """Set what is not as declared; settings that we do not declare stay as they are."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in wanted]
    found = admin.describe_configs(resources, config_filter="all").get("topic", {})
    changes = {}
    for name, topic in wanted.items():
        declared, now = topic_settings(kafka, topic), found.get(name, {})
        wrong = {k: v for k, v in declared.items() if now.get(k, {}).get("value") != v}
        if wrong:
            changes[name] = wrong
    if not changes:
        return
    altered = admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, new) for name, new in changes.items()],
        incremental=True,
    )
    for name, outcome in altered["topic"].items():
        if outcome != "OK":
            raise ConfigurationError(
                f"topic {name}: Kafka does not set {changes[name]}: {outcome}; the account needs "
                "the right to alter settings"
            )
        log.info("topic %s: set %s", name, changes[name])
