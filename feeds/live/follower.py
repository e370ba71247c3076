"""A client's place in its channel: which message comes next for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from feeds.live.channel import Channel
from feeds.live.message import Message

__all__ = ["SLOW_MS", "Follower"]

SLOW_MS = 2_000
"""Who has not taken a message this long after it was made is slow and gets what is newest."""


@dataclass
class Follower:
    """Reads one channel; ``since``: the number a resuming client has everything up to."""

    channel: Channel
    since: int | None = None
    conflations: int = 0
    _position: int = 0
    _seq: int = 0
    _replayed_to: int = 0
    """Up to this position a resuming client gets what it missed, however old."""
    _begun: bool = field(default=False)

    def next(self, at: int, *, complete: bool = True) -> Message | None:
        """Return the next message at ``at`` [ms], None while there is none."""
        if not self._begun:
            self._begun = True
            if not self._resume():
                return self._start(at, complete)
        ring = self.channel.ring
        if self._position >= ring.end:
            return None
        if self._position < ring.start or self._is_slow(at):
            return self._catch_up(at)
        message = ring[self._position]
        self._position += 1
        self._seq = message.seq
        return message

    def _resume(self) -> bool:
        if self.since is None:
            return False
        position = self.channel.ring.position_after(self.since, self.channel.seq)
        if position is None:
            return False
        self._position, self._seq = position, self.since
        self._replayed_to = self.channel.ring.end
        return True

    def _start(self, at: int, complete: bool) -> Message:
        message, self._position = self.channel.snapshot(at, complete=complete)
        self._seq = message.seq
        return message

    def _is_slow(self, at: int) -> bool:
        if self._position < self._replayed_to:
            return False
        return at - self.channel.ring[self._position].at > SLOW_MS

    def _catch_up(self, at: int) -> Message | None:
        """Leave out what is too old, and send the newest of all that changed meanwhile."""
        self._position = self.channel.ring.end
        if self._seq == self.channel.seq:  # it missed heartbeats only
            return None
        message = self.channel.conflated(self._seq, at)
        self._seq = message.seq
        self.conflations += 1
        return message
