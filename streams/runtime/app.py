"""The Faust application: its settings and topics. Faust only reads; see ``tasks.py``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import faust
from faust.tables.manager import TableManager
from faust.types import TP
from yarl import URL

from civicstream.settings import KafkaSettings, Settings
from streams.runtime.committed_consumer import CommittedTransport
from streams.runtime.kafka_connection import tls_context

__all__ = ["make_app", "make_channel"]


def make_app(settings: Settings, positions: Callable[[], Mapping[TP, int]]) -> faust.App:
    """Return the app; nothing connects before it is started.

    ``positions`` says with which offset each assigned partition goes on.
    """
    kafka = settings.kafka
    session_s = kafka.session_timeout_ms / 1000
    app = faust.App(
        kafka.scoped(settings.worker.app),
        broker=[URL(f"kafka://{address}") for address in kafka.bootstrap.split(",")],
        broker_credentials=_credentials(kafka),
        broker_client_id=settings.worker.id,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / 3,
        consumer_max_fetch_size=8 * 1024 * 1024,
        # Frames are large: a deep buffer would be memory, not speed.
        stream_buffer_maxsize=64,
        # By default a revocation waits for held frames and the rebalance hangs.
        stream_wait_empty=False,
        store="memory://",
        datadir=str(settings.worker.data_dir),
        topic_partitions=kafka.partitions,
        topic_replication_factor=kafka.replication,
        topic_disable_leader=True,
        topic_allow_declare=False,
        TableManager=_NoTables,
        web_enabled=False,
    )
    app.transport = CommittedTransport(app, positions)
    # Nothing is sent by Faust: what a task publishes is in the task's own transactions.
    app.boot_strategy.enable_kafka_producer = False
    return app


class _NoTables(TableManager):  # type: ignore[misc]
    """State is with the tasks; Faust's own waits a second for tables that might be declared."""

    logger = logging.getLogger("faust.tables")

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


def _credentials(kafka: KafkaSettings) -> Any:
    context = tls_context(kafka)
    if kafka.sasl_mechanism:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password.get_secret_value() if kafka.password else None,
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


def make_channel(app: faust.App, topics: Iterable[str]) -> faust.TopicT:
    """Return the channel of topics, given with their prefix; values are raw bytes."""
    raw = {"key_serializer": "raw", "value_serializer": "raw", "value_type": bytes}
    # Offsets are part of the tasks' states, not acknowledged one by one.
    return app.topic(*topics, **raw, acks=False)
