"""The last messages of a channel, which its clients read each at its own place."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from feeds.live.message import Message

__all__ = ["Ring"]


class Ring:
    """Messages have positions 0, 1, 2, ... for ever; the oldest are let go."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self.start = 0
        """Position of the oldest message that is kept."""
        self.size = 0
        """Of the messages that are kept [bytes]."""

    @property
    def end(self) -> int:
        """Position that the next message will have."""
        return self.start + len(self._messages)

    def append(self, message: Message) -> None:
        self._messages.append(message)
        self.size += message.size

    def drop_oldest(self) -> None:
        self.size -= self._messages.popleft().size
        self.start += 1

    def drop_before(self, at: int) -> None:
        """Let go what is older than ``at`` [ms]."""
        while self._messages and self._messages[0].at < at:
            self.drop_oldest()

    def __getitem__(self, position: int) -> Message:
        """Return the message at ``position``; IndexError for one that is not kept."""
        if not self.start <= position < self.end:
            raise IndexError(f"position {position} is not in {self.start}..{self.end - 1}")
        return self._messages[position - self.start]

    def position_after(self, seq: int, newest: int) -> int | None:
        """Return where a client that has everything up to ``seq`` goes on.

        ``newest`` is the channel's present number. None when what follows is not kept any more,
        or ``seq`` never was.
        """
        if seq == newest:
            return self.end
        if not 0 <= seq < newest:
            return None
        oldest = next((m.seq for m in self._messages if m.name == "delta"), None)
        if oldest is None or oldest > seq + 1:
            return None
        return self.start + _first_after(self._messages, seq)


def _first_after(messages: Sequence[Message], seq: int) -> int:
    """Return the index of the first delta after ``seq``; numbers rise along the messages."""
    return next(i for i, m in enumerate(messages) if m.name == "delta" and m.seq > seq)
