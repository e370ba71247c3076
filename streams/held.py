"""Which records of a partition are still needed: those of open windows."""

from __future__ import annotations

from collections import deque

__all__ = ["HeldOffsets"]


class HeldOffsets:
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
