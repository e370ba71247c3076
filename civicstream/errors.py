"""Every error CivicStream raises on purpose; the class says what to do about it.

::

    CivicStreamError
    ├── ConfigurationError     stop; a person must change a setting (exit code 2)
    ├── ServerUnavailable      wait with backoff and try again, nothing is lost meanwhile
    ├── OwnershipLost          another process owns the partition; re-read the offsets
    │   └── Fenced             another process has our transactional id: begin again, as a new one
    ├── LogShortened           Kafka no longer has what we read on from: record the gap, go on
    ├── RecordTooLarge         a defect: the record must be cut smaller; trying again cannot help
    └── DataError              keep the bytes as a dead letter and go on with the rest
        ├── RejectedReading    a device sent something we cannot accept
        └── CorruptFrame       a record on a frames topic is not one of our frames

``retry`` is true where trying the same thing again can help.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CivicStreamError",
    "ConfigurationError",
    "CorruptFrame",
    "DataError",
    "Fenced",
    "LogShortened",
    "OwnershipLost",
    "RecordTooLarge",
    "RejectedReading",
    "ServerUnavailable",
]


class CivicStreamError(Exception):
    """Root of the tree."""

    retry: ClassVar[bool] = False


class ConfigurationError(CivicStreamError):
    """A setting, file or right is wrong; the message names it and the remedy."""


class ServerUnavailable(CivicStreamError):
    """A broker or database cannot be reached now."""

    retry: ClassVar[bool] = True


class OwnershipLost(CivicStreamError):
    """The partition's offsets were moved on by another process."""

    retry: ClassVar[bool] = True


class Fenced(OwnershipLost):
    """Kafka takes no more from us: another process began with the same transactional id."""


class LogShortened(CivicStreamError):
    """A topic ends before, begins after, or is not the one that our position was taken from."""

    retry: ClassVar[bool] = True


class RecordTooLarge(CivicStreamError):
    """A record is over what its topic takes; ``size`` and ``limit`` in bytes."""

    def __init__(self, topic: str, key: bytes | None, size: int, limit: int) -> None:
        name = "without a key" if key is None else repr(key.decode(errors="replace"))
        super().__init__(
            f"record {name} for topic {topic} has {size} bytes, more than the {limit} that the "
            "topic takes (max.message.bytes); write it in smaller pieces"
        )
        self.topic, self.key, self.size, self.limit = topic, key, size, limit


class DataError(CivicStreamError):
    """Input that cannot be used. ``reason`` is a stable code, the message a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class RejectedReading(DataError):
    """A payload, or a member of it, that fails validation."""


class CorruptFrame(DataError):
    """A record on a frames topic that does not decode as a frame."""
