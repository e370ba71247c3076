"""Whether the MQTT broker holds back until acknowledgements, seen from when its messages come.

Many brokers send a client only so many messages that it has not acknowledged. Whoever then waits
for more readings to share a frame waits in vain. It shows: a message comes at once after the
acknowledgements, and none had come before. A broker that merely has nothing sends later, or goes
on after a pause without any acknowledgement; to let it show that, some waits are longer.

Times are of a monotonic clock [s].
"""

from __future__ import annotations

__all__ = ["HeldBack"]

_AT_ONCE_S = 0.02
"""After its acknowledgements a broker that had held back sends within this time."""
_LONGER, _LONGER_EVERY = 4, 16
"""Every 16th wait is four times as long."""


class HeldBack:
    """Says how long to wait for another message: ``shortest_s`` for a broker that holds back."""

    def __init__(self, shortest_s: float, longest_s: float) -> None:
        self.wait_s = shortest_s
        self._shortest_s, self._longest_s = shortest_s, longest_s
        self._came_at = 0.0
        self._waits = 0
        self._waited = self._acknowledged = False
        """A wait was in vain; and something was acknowledged since."""
        self._acknowledged_at: float | None = None

    @property
    def over_at(self) -> float:
        """When the wait for the next message is over."""
        return self._came_at + self.wait_s

    def came(self, now: float, *, waiting: bool) -> None:
        """A message came; ``waiting``: others before it are not on their way yet."""
        if self._acknowledged_at is not None:
            self._learn(now - self._acknowledged_at < _AT_ONCE_S)
        elif waiting and now - self._came_at >= self._shortest_s:
            self._learn(False)
        self._came_at = now

    def _learn(self, held_back: bool) -> None:
        self._acknowledged_at = None
        self.wait_s = self._longest_s
        if held_back:
            longer = _LONGER if self._waits % _LONGER_EVERY == 0 else 1
            self.wait_s = min(longer * self._shortest_s, self._longest_s)

    def waited(self) -> None:
        """Nothing came within ``wait_s``: what there is goes out."""
        self._waited = True
        self._waits += 1

    def acknowledged(self) -> None:
        """Something was acknowledged; what comes in the same turn was sent before that."""
        self._acknowledged, self._waited = self._acknowledged or self._waited, False

    def turn_ended(self, now: float) -> None:
        """Messages that come from now on may have been sent after the acknowledgements."""
        if self._acknowledged:
            self._acknowledged, self._acknowledged_at = False, now
