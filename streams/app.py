"""The Faust application: its settings, topics and tables."""

from __future__ import annotations

import ssl
from typing import Any

import faust
from yarl import URL

from civicstream.kinds import KINDS
from civicstream.settings import KafkaSettings, Settings
from civicstream.topics import frames_topic, topic_name
from streams.durable_table import DurableTable

__all__ = [
    "make_app",
    "make_city_table",
    "make_city_topic",
    "make_frames_topic",
    "make_sensor_table",
]


def make_app(settings: Settings) -> faust.App:
    """Return the app; nothing connects before it is started."""
    kafka = settings.kafka
    session_s = kafka.session_timeout_ms / 1000
    return faust.App(
        kafka.scoped(settings.worker.app),
        broker=[URL(f"kafka://{address}") for address in kafka.bootstrap.split(",")],
        broker_credentials=_credentials(kafka),
        broker_client_id=settings.worker.id,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / 3,
        # A frame is held until its windows are closed; committing sooner finds nothing new.
        broker_commit_interval=1.0,
        broker_commit_livelock_soft_timeout=86_400.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=8 * 1024 * 1024,
        producer_max_request_size=16 * 1024 * 1024,
        producer_acks=-1,
        # A window's results are many at once; small batches would go out one after another.
        producer_max_batch_size=1024 * 1024,
        # Frames are large: a deep buffer would be memory, not speed.
        stream_buffer_maxsize=64,
        # By default a revocation waits for held frames and the rebalance hangs.
        stream_wait_empty=False,
        store="memory://",
        datadir=str(settings.worker.data_dir),
        topic_partitions=kafka.partitions,
        topic_replication_factor=kafka.replication,
        topic_disable_leader=True,
        web_enabled=False,
    )


def _credentials(kafka: KafkaSettings) -> Any:
    context = None
    if kafka.security_protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=kafka.ca_file and str(kafka.ca_file))
    if kafka.sasl_mechanism:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password.get_secret_value() if kafka.password else None,
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


def make_frames_topic(app: faust.App, kafka: KafkaSettings) -> faust.TopicT:
    """Return the channel of all kinds' frames topics; values are raw bytes."""
    names = [topic_name(kafka.topic_prefix, frames_topic(kind)) for kind in KINDS]
    return app.topic(*names, key_serializer="raw", value_serializer="raw", value_type=bytes)


def make_city_topic(app: faust.App, kafka: KafkaSettings, *names: str) -> faust.TopicT:
    """Return the channel of topics with one order for the whole city; values are raw bytes."""
    full = [topic_name(kafka.topic_prefix, name) for name in names]
    return app.topic(*full, key_serializer="raw", value_serializer="raw", value_type=bytes)


def make_sensor_table(app: faust.App, kafka: KafkaSettings) -> DurableTable:
    """Return the table of progress and sensor states, partitioned as the frames."""
    return DurableTable(
        app.Table(
            "progress",
            key_type=str,
            partitions=kafka.partitions,
            help="closed_until, exact counts and the sensors' states of every partition of frames",
        )
    )


def make_city_table(app: faust.App) -> DurableTable:
    """Return the table of what is known of the whole city, by the worker that has its topics."""
    return DurableTable(
        app.Table(
            "city",
            key_type=str,
            partitions=1,
            help="open incidents, forecasters, cases, crews and allocations",
        )
    )
