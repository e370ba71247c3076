"""Wall-clock time as the contract counts it: integer milliseconds since 1970, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime

__all__ = ["now_ms", "rfc3339"]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def rfc3339(ts_ms: int) -> str:
    """Return ``ts_ms`` as RFC 3339 with milliseconds, in UTC."""
    stamp = datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")
