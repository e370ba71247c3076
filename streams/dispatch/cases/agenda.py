"""What is to come up at a time: a heap in which an entry may be moved or taken off."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

__all__ = ["Agenda"]


class Agenda:
    """Keys with one time each."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._due: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._due)

    def put(self, key: str, at_ms: int | None) -> None:
        """Have ``key`` come up at a time, instead of any other time; None: not at all."""
        if at_ms is None:
            self._due.pop(key, None)
        elif self._due.get(key) != at_ms:
            self._due[key] = at_ms
            heapq.heappush(self._heap, (at_ms, key))
            if len(self._heap) > 2 * len(self._due) + 64:
                # Entries that were moved lie about until their old time.
                self._heap = sorted((at, k) for k, at in self._due.items())

    def due(self, now_ms: int) -> Iterator[str]:
        """Yield what is due, in order of time and key; each comes up once."""
        while self._heap and self._heap[0][0] <= now_ms:
            at_ms, key = heapq.heappop(self._heap)
            if self._due.get(key) == at_ms:
                del self._due[key]
                yield key
