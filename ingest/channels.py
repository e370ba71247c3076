"""MQTT topics resolved once: kind, area, sensor, identity and partition."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from civicstream.errors import RejectedReading
from civicstream.kinds import KINDS, sensor_key
from civicstream.partitioning import partition_of
from civicstream.topics import parse_mqtt_topic
from ingest.validation import name_of

__all__ = ["Channel", "Channels", "kind_of"]

# A million entries would take some 400 MB; past this many the cache starts afresh, and a
# flood of invented topics cannot fill the memory.
_MAX_CACHED = 250_000

# Kafka keys, database keys and frames carry these names with every reading.
_MAX_NAME_BYTES = 200

UNKNOWN = "unknown"
"""Where the ledger counts what belongs to no kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """One sensor's topic."""

    kind: str
    area: str
    sensor: str
    key: int
    """``kinds.sensor_key``."""
    partition: int


class Channels:
    """Finds the channel of a topic; ``known_keys`` limits the sensors in strict mode."""

    def __init__(
        self, root: str, partitions: int, known_keys: Container[int] | None = None
    ) -> None:
        self._root = root
        self._partitions = partitions
        self._known_keys = known_keys
        self._cache: dict[str, Channel] = {}

    def find(self, topic: str) -> Channel:
        """Return the topic's channel; raise RejectedReading for one we cannot serve."""
        channel = self._cache.get(topic)
        if channel is None:
            channel = self._resolve(topic)
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[topic] = channel
        return channel

    def _resolve(self, topic: str) -> Channel:
        parts = parse_mqtt_topic(topic, self._root)
        if parts is None:
            raise RejectedReading(
                "unknown_topic",
                f"topic {name_of(topic)} is not {self._root}/<kind>/<area>/<sensor>",
            )
        if parts.kind not in KINDS:
            raise RejectedReading(
                "unknown_kind",
                f"topic {name_of(topic)}: kind {name_of(parts.kind)} is not one of "
                f"{', '.join(KINDS)}",
            )
        if max(len(parts.area.encode()), len(parts.sensor.encode())) > _MAX_NAME_BYTES:
            raise RejectedReading(
                "name_too_long",
                f"topic {name_of(topic)}: area and sensor may have {_MAX_NAME_BYTES} bytes each",
            )
        key = sensor_key(parts.kind, parts.area, parts.sensor)
        if self._known_keys is not None and key not in self._known_keys:
            raise RejectedReading(
                "unknown_sensor",
                f"sensor {name_of(parts.sensor)} of kind {parts.kind} in area "
                f"{name_of(parts.area)} is not in the city model; add it there, or set "
                "CIVICSTREAM_GATEWAY__STRICT_SENSORS=false",
            )
        partition = partition_of(parts.area, self._partitions)
        return Channel(parts.kind, parts.area, parts.sensor, key, partition)


def kind_of(topic: str, root: str) -> str:
    """Return the kind in a topic for the ledger, UNKNOWN where there is none of ours."""
    parts = parse_mqtt_topic(topic, root)
    return parts.kind if parts is not None and parts.kind in KINDS else UNKNOWN
