"""MQTT topics resolved once: kind, area, sensor, identity and partition."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from civicstream.errors import RejectedReading
from civicstream.kinds import KINDS, sensor_key
from civicstream.partitioning import partition_of
from civicstream.topics import parse_mqtt_topic
from ingest.newcomers import Newcomers
from ingest.validation import name_of

__all__ = ["Channel", "Channels", "check_name", "kind_of"]

# Two generations of so many entries take some 200 MB. What was not used while one filled is
# forgotten first, so that a flood of invented topics pushes out itself and no sensor that reports.
_GENERATION = 250_000

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
    """Finds the channel of a topic; ``known_keys`` are the sensors of the city model."""

    def __init__(
        self,
        root: str,
        partitions: int,
        newcomers: Newcomers,
        known_keys: Container[int] = (),
        *,
        strict: bool = False,
    ) -> None:
        self._root = root
        self._partitions = partitions
        self._newcomers = newcomers
        self._known_keys = known_keys
        self._strict = strict
        self._recent: dict[str, Channel] = {}
        self._older: dict[str, Channel] = {}

    def find(self, topic: str, now: float) -> Channel:
        """Return the topic's channel; raise RejectedReading for one we cannot serve.

        ``now`` is the monotonic clock [s].
        """
        channel = self._recent.get(topic)
        if channel is None:
            channel = self._older.get(topic) or self._resolve(topic, now)
            if len(self._recent) >= _GENERATION:
                self._older, self._recent = self._recent, {}
            self._recent[topic] = channel
        return channel

    def _resolve(self, topic: str, now: float) -> Channel:
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
        check_name("area", parts.area)
        check_name("sensor", parts.sensor)
        key = sensor_key(parts.kind, parts.area, parts.sensor)
        if key not in self._known_keys:
            if self._strict:
                raise RejectedReading(
                    "unknown_sensor",
                    f"sensor {name_of(parts.sensor)} of kind {parts.kind} in area "
                    f"{name_of(parts.area)} is not in the city model; add it there, or set "
                    "CIVICSTREAM_GATEWAY__STRICT_SENSORS=false",
                )
            self._newcomers.admit_sensor(parts.kind, parts.area, parts.sensor, now)
        partition = partition_of(parts.area, self._partitions)
        return Channel(parts.kind, parts.area, parts.sensor, key, partition)


def check_name(what: str, name: str) -> None:
    """Raise RejectedReading for a topic's area, sensor or client that no database would keep.

    The sentence does not repeat the name: a client's may be a person's.
    """
    if not name.isprintable():
        raise RejectedReading(
            "name_malformed", f"the topic's {what} holds control characters; use printable ones"
        )
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise RejectedReading(
            "name_too_long", f"the topic's {what} may have {_MAX_NAME_BYTES} bytes; shorten it"
        )


def kind_of(topic: str, root: str) -> str:
    """Return the kind in a topic for the ledger, UNKNOWN where there is none of ours."""
    parts = parse_mqtt_topic(topic, root)
    return parts.kind if parts is not None and parts.kind in KINDS else UNKNOWN
