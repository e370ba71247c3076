"""Every error CivicStream raises on purpose; the class says what to do about it.

::

    CivicStreamError
    ├── ConfigurationError     stop; a person must change a setting (exit code 2)
    ├── ServerUnavailable      wait with backoff and try again, nothing is lost meanwhile
    ├── OwnershipLost          another process owns the partition; re-read the offsets
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
    "OwnershipLost",
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
