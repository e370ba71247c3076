"""What a worker says of itself, outside of every task's transactions."""

from __future__ import annotations

from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from streams.runtime.kafka_connection import plain_producer

__all__ = ["Publication"]

Headers = list[tuple[str, bytes]]


class Publication:
    """Sends with a producer of its own; Kafka's confirmation is awaited."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def start(self) -> None:
        self._producer = plain_producer(self._kafka)
        await self._producer.start()

    async def send(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        """Send one record and return once Kafka has confirmed it."""
        name = topic_name(self._kafka.topic_prefix, topic)
        await self._producer.send_and_wait(name, value, key, 0, headers=headers)

    async def stop(self) -> None:
        await self._producer.stop()
