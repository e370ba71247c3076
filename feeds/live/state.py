"""The newest item of each key, and what has changed since it was last asked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from feeds.live.item import LIVE_TOPICS, Item, Key, gone

__all__ = ["LiveState", "Retention"]


@dataclass(frozen=True)
class Retention:
    """How long items stay [ms since they came], and how many of a topic at most."""

    closed_ms: int = 300_000
    """What is cleared, solved or completed."""
    silent_ms: tuple[tuple[str, int], ...] = (("ledger", 600_000), ("units", 12 * 3_600_000))
    """Topic -> when one that does not report any more is left out: stages that were stopped,
    crews whose device is off."""
    max_items: int = 200_000
    max_remembered: int = 100_000
    """Keys that have gone and must not come back by an old version of theirs."""


class LiveState:
    """Items go in in any order and any number of times: the newest version of each key stays.

    Not thread-safe. Time is passed in [ms].
    """

    def __init__(self, retention: Retention = Retention()) -> None:
        self._retention = retention
        self._items: dict[str, dict[str, Item]] = {topic: {} for topic in LIVE_TOPICS}
        self._changed: dict[Key, Item] = {}
        self._ending: OrderedDict[Key, int] = OrderedDict()
        self._last_seen: dict[str, OrderedDict[str, int]] = {
            topic: OrderedDict() for topic, _ in retention.silent_ms
        }
        self._gone: OrderedDict[Key, tuple[int, ...]] = OrderedDict()
        self.refused = 0
        """Items left out because their topic is full."""

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def items(self) -> Iterator[Item]:
        for of_topic in self._items.values():
            yield from of_topic.values()

    def apply(self, items: Iterable[Item], now: int) -> int:
        """Take items in and return how many of them were news."""
        news = 0
        for item in items:
            news += self._apply(item, now)
        return news

    def _apply(self, item: Item, now: int) -> bool:
        of_topic, key = self._items[item.topic], item.key
        known = of_topic.get(item.id)
        newest = known.order if known is not None else self._gone.get(key)
        if newest is not None and item.order <= newest:
            return False
        if known is None and len(of_topic) >= self._retention.max_items:
            self.refused += 1
            return False
        of_topic[item.id] = self._changed[key] = item
        self._gone.pop(key, None)
        self._ending.pop(key, None)
        if item.closed:
            self._ending[key] = now + self._retention.closed_ms
        seen = self._last_seen.get(item.topic)
        if seen is not None:
            seen[item.id] = now
            seen.move_to_end(item.id)
        return True

    def take_changes(self, now: int) -> list[Item]:
        """Return the newest item of each key that changed since the last call, gone ones too."""
        self._expire(now)
        changes = list(self._changed.values())
        self._changed.clear()
        return changes

    def _expire(self, now: int) -> None:
        while self._ending and next(iter(self._ending.values())) <= now:
            self._remove(self._ending.popitem(last=False)[0])
        for topic, silent_ms in self._retention.silent_ms:
            seen = self._last_seen[topic]
            while seen and next(iter(seen.values())) <= now - silent_ms:
                self._remove((topic, next(iter(seen))))

    def _remove(self, key: Key) -> None:
        topic, identity = key
        item = self._items[topic].pop(identity)
        self._changed[key] = gone(item)
        self._ending.pop(key, None)
        if topic in self._last_seen:
            self._last_seen[topic].pop(identity, None)
        self._gone[key] = item.order
        self._gone.move_to_end(key)
        if len(self._gone) > self._retention.max_remembered:
            self._gone.popitem(last=False)
