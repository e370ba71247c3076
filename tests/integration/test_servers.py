"""The servers that other tests stand on do start, answer and stop."""

from __future__ import annotations

import socket

import psycopg
import pytest

from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings, MqttSettings
from civicstream.topics import TOPICS
from tests.kit.servers import TcpProxy


def test_topics_are_created_once_and_found_again(kafka: KafkaSettings) -> None:
    assert len(create_topics(kafka)) == len(TOPICS)
    assert create_topics(kafka) == []


def test_timescaledb_has_its_extension(timescaledb: str) -> None:
    with psycopg.connect(timescaledb) as connection:
        connection.execute("CREATE EXTENSION timescaledb")
        row = connection.execute("SHOW timescaledb.license").fetchone()
    assert row in (("apache",), ("timescale",))


def test_plain_postgres_answers(postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        assert connection.info.server_version >= 150000


def test_a_cut_link_refuses_and_a_restored_one_serves(
    mosquitto: MqttSettings, tcp_proxy: type[TcpProxy]
) -> None:
    proxy = tcp_proxy(mosquitto.port)
    proxy.cut()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as link:
        assert link.recv(1) == b""
    proxy.restore()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as link:
        link.settimeout(0.2)
        with pytest.raises(TimeoutError):
            link.recv(1)
