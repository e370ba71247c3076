"""Frames of one partition strictly in the order of their offsets, none left out.

Around rebalances Faust was seen to deliver frames twice, and to go on from where it had read to
instead of from the committed offset, leaving out frames of open windows; it also acks what it
skips. So the offset to go on from is part of our own progress, and every frame is held against
the one that must come next.
"""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["FrameSequence", "StallWatch", "Turn"]

# A seek takes as long as a fetch; frames already under way come first and are passed over.
_PATIENCE_S = 3.0

# Frames that do not come after so many seeks are no longer on Kafka (retention, control records).
_MOST_SEEKS = 4


class Turn(Enum):
    """What to do with a frame."""

    NEXT = auto()
    """Its turn: take it in."""
    ACCOUNTED = auto()
    """All its readings were published or reported late in an earlier life: ack it."""
    REPEATED = auto()
    """Already taken in: pass it over, its first delivery will be acked."""
    SEEK = auto()
    """Frames before it are missing: pass it over and go back to ``expected``."""
    WAIT = auto()
    """Pass it over, going back is under way."""
    AFTER_GAP = auto()
    """Take it in: the frames before it are gone from Kafka."""


class FrameSequence:
    """Judges each frame by its offset; ``resume_at`` is the first that is still needed."""

    def __init__(self, resume_at: int) -> None:
        self.expected = resume_at
        self._resume_at = resume_at
        self._sought_at: float | None = None
        self._seeks = 0

    def turn(self, offset: int, now_s: float) -> Turn:
        """Return what to do with the frame at ``offset``; ``now_s`` is a monotonic clock."""
        if offset < self._resume_at:
            return Turn.ACCOUNTED
        if offset < self.expected:
            return Turn.REPEATED
        if offset == self.expected:
            return self._take(offset, Turn.NEXT)
        if self._sought_at is not None and now_s - self._sought_at < _PATIENCE_S:
            return Turn.WAIT
        if self._seeks == _MOST_SEEKS:
            return self._take(offset, Turn.AFTER_GAP)
        self._sought_at = now_s
        self._seeks += 1
        return Turn.SEEK

    def _take(self, offset: int, turn: Turn) -> Turn:
        self.expected = offset + 1
        self._sought_at, self._seeks = None, 0
        return turn


class StallWatch:
    """Notices a partition with unread records of which none comes: Faust has left them out.

    Later ones would show the gap, but a quiet topic has none.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, float] | None = None

    def stalled(self, expected: int, highwater: int | None, now_s: float) -> bool:
        """Whether to seek ``expected`` now; ``highwater`` is the end of the partition."""
        if highwater is None or highwater <= expected:
            self._seen = None
            return False
        if self._seen is None or self._seen[0] != expected:
            self._seen = (expected, now_s)
            return False
        if now_s - self._seen[1] < _PATIENCE_S:
            return False
        self._seen = (expected, now_s)
        return True
