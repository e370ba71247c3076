"""How many reports of one client are taken in: a token bucket each, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["RateLimit"]

# A city's reporters of a day; a client that was pushed out starts with a full bucket.
_MAX_CLIENTS = 50_000


class _Bucket:
    __slots__ = ("at", "recent", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at
        self.recent: OrderedDict[str, None] = OrderedDict()


class RateLimit:
    """``burst`` items at once, then ``per_s`` in the long run; time is the caller's clock [s]."""

    def __init__(self, per_s: float, burst: int, max_clients: int = _MAX_CLIENTS) -> None:
        self._per_s, self._burst, self._max = per_s, burst, max_clients
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def admit(self, client: str, item: str, now: float) -> bool:
        """Return whether the client may send the item ``now``; the same item again costs nothing.

        So what a broker sends again after a lost connection is never taken for abuse.
        """
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(self._burst, now)
            if len(self._buckets) > self._max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(client)
        if item in bucket.recent:
            return True
        bucket.tokens = min(self._burst, bucket.tokens + max(0.0, now - bucket.at) * self._per_s)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        bucket.recent[item] = None
        if len(bucket.recent) > self._burst:
            bucket.recent.popitem(last=False)
        return True

    def left(self, client: str, now: float) -> float:
        """Return how many items the client could send ``now``; takes nothing."""
        bucket = self._buckets.get(client)
        if bucket is None:
            return self._burst
        return min(self._burst, bucket.tokens + max(0.0, now - bucket.at) * self._per_s)

    def wait_s(self, client: str) -> float:
        """Return after how many seconds the client may send again."""
        bucket = self._buckets.get(client)
        return 0.0 if bucket is None else max(0.0, (1 - bucket.tokens) / self._per_s)
