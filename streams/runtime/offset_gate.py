"""Records of one partition strictly in the order of their offsets, none left out.

Around rebalances Faust was seen to deliver records twice, and to go on from where it had read to
instead of from where it was sought, leaving out frames of open windows. So every record is held
against the one that must come next. Offsets have holes: markers of transactions, records that were
aborted or compacted away. Each record therefore says at which offset the reading stood before it.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

__all__ = ["OffsetGate", "PendingOffsets", "StallWatch", "Turn"]

# A seek takes as long as a fetch; records already under way come first and are passed over.
_PATIENCE_S = 3.0


class Turn(Enum):
    """What to do with a record."""

    NEXT = auto()
    """Its turn: take it in."""
    REPEATED = auto()
    """Already taken in: pass it over."""
    SEEK = auto()
    """Records before it are missing: pass it over and go back to ``expected``."""
    WAIT = auto()
    """Pass it over, going back is under way."""


class OffsetGate:
    """Judges each record by its offset; ``expected`` is the first that must still come."""

    def __init__(self, expected: int, newest_ms: int = 0) -> None:
        self.expected = expected
        self.newest_ms = newest_ms
        """When Kafka appended the newest record taken in [epoch ms]; 0: not known."""
        self._sought_at: float | None = None

    def turn(self, follows: int, offset: int, now_s: float, appended_ms: int = 0) -> Turn:
        """Return what to do with the record at ``offset``, read on from ``follows``.

        ``now_s`` is a monotonic clock; ``appended_ms``: when Kafka appended it, 0: not known.
        """
        if offset < self.expected:
            return Turn.REPEATED
        if follows <= self.expected:
            self.expected = offset + 1
            self.newest_ms = max(self.newest_ms, appended_ms)
            self._sought_at = None
            return Turn.NEXT
        if self._sought_at is not None and now_s - self._sought_at < _PATIENCE_S:
            return Turn.WAIT
        self._sought_at = now_s
        return Turn.SEEK


class StallWatch:
    """Notices a partition with fetched records that do not come: Faust has left them out.

    Later ones would show the gap, but a quiet topic has none.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, float] | None = None

    def stalled(self, expected: int, handed: int | None, now_s: float) -> bool:
        """Whether to seek ``expected`` now; ``handed`` is the end of what Faust was given."""
        if handed is None or handed <= expected:
            self._seen = None
            return False
        if self._seen is None or self._seen[0] != expected:
            self._seen = (expected, now_s)
            return False
        if now_s - self._seen[1] < _PATIENCE_S:
            return False
        self._seen = (expected, now_s)
        return True


class PendingOffsets:
    """Offsets in rising order, each with the window end that it waits for."""

    def __init__(self) -> None:
        self._held: deque[tuple[int, int]] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, offset: int, waits_until: int) -> None:
        """Hold a record until the windows that end at or before ``waits_until`` are published."""
        self._held.append((offset, waits_until))

    def release(self, closed_until: int) -> int | None:
        """Forget the leading ones that are done with; return the first that is needed, or None."""
        while self._held and self._held[0][1] <= closed_until:
            self._held.popleft()
        return self._held[0][0] if self._held else None
