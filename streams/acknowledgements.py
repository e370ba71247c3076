"""Frames of one partition in the order of their offsets, each held until it may be acked.

Kafka commits one offset per partition, so a frame is released only after all before it.
(Faust commits past unacknowledged messages when they are acked out of order: its commit starts
at the first acked offset, not at the first unacked one.)
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["HeldFrames"]

T = TypeVar("T")


@dataclass
class _Held(Generic[T]):
    token: T
    offset: int
    waits_until: int
    late_pending: bool


class HeldFrames(Generic[T]):
    """Tokens (Faust events) in offset order."""

    def __init__(self) -> None:
        self._held: deque[_Held[T]] = deque()

    def __len__(self) -> int:
        return len(self._held)

    def hold(
        self, token: T, offset: int, waits_until: int, *, late_pending: bool = False
    ) -> _Held[T]:
        """Hold a frame until windows up to ``waits_until`` are published and its late readings
        are confirmed; return the handle for ``late_confirmed``.
        """
        held = _Held(token, offset, waits_until, late_pending)
        self._held.append(held)
        return held

    def late_confirmed(self, held: _Held[T]) -> None:
        held.late_pending = False

    def first_unfinished(self, closed_until: int) -> int | None:
        """Return the offset of the first frame that publishing up to then leaves unfinished."""
        for held in self._held:
            if held.late_pending or held.waits_until > closed_until:
                return held.offset
        return None

    def release(self, closed_until: int) -> list[T]:
        """Take out and return the tokens that may be acked now, in order."""
        released = []
        while self._held:
            head = self._held[0]
            if head.late_pending or head.waits_until > closed_until:
                break
            released.append(self._held.popleft().token)
        return released
