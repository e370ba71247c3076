"""What all clients with the same filter share: numbered changes, encoded once.

A channel holds no client and no queue. It knows of each key with which number it last changed;
so whoever missed something gets the newest of each key that changed since.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from feeds.live.filters import Filter
from feeds.live.item import Item, Key
from feeds.live.item import gone as made_gone
from feeds.live.message import Message, changes_json
from feeds.live.ring import Ring

__all__ = ["Changes", "Channel"]

# The newest removals, which a slow client may not have yet.
_MAX_GONE = 20_000
# Many clients that connect at once share a snapshot, and take what follows from the ring.
_SNAPSHOT_FRESH_MS = 1_000

Changes = Mapping[str, Mapping[str | None, Sequence[Item]]]
"""Topic -> area -> items: channels look only at what can concern them."""


@dataclass(slots=True)
class _Sent:
    """What the clients were last sent of a key, and with which number."""

    item: Item
    seq: int


class Channel:
    """``stream`` names it among all channels of all processes for ever."""

    def __init__(self, stream: str, wanted: Filter, items: Iterable[Item], at: int) -> None:
        self.stream = stream
        self.filter = wanted
        self.seq = 0
        self.ring = Ring()
        self._sent: OrderedDict[Key, _Sent] = OrderedDict(
            (item.key, _Sent(item, 0)) for item in items if wanted.passes(item)
        )
        self._gone: OrderedDict[Key, _Sent] = OrderedDict()
        self._forgotten = 0
        """Number of the last one gone that is not remembered: older clients start again."""
        self._heartbeat_at = at
        self._snapshot: tuple[Message, int] | None = None

    def publish(self, changes: Changes, at: int) -> bool:
        """Number and encode what the clients are to have of ``changes``; False for nothing."""
        items = [shown for item in self._concerning(changes) if (shown := self._shown(item))]
        if not items:
            return False
        self.seq += 1
        for item in items:
            self._send(item)
        data = b'{"seq":%d,"at":%d,"changes":%s}' % (self.seq, at, changes_json(items))
        self.ring.append(Message("delta", self.stream, self.seq, at, data))
        return True

    def _concerning(self, changes: Changes) -> Iterable[Item]:
        for topic in self.filter.topics:
            for area, items in changes.get(topic, {}).items():
                # An item may come from an area that is wanted: then its key was sent.
                if self.filter.wants_area(area) or any(i.key in self._sent for i in items):
                    yield from items

    def _shown(self, item: Item) -> Item | None:
        """Return what to send of a changed item: itself, that it is gone, or nothing."""
        if not item.gone and self.filter.passes(item):
            return item
        if item.key not in self._sent:
            return None
        return item if item.gone else made_gone(item)

    def _send(self, item: Item) -> None:
        key, sent = item.key, _Sent(item, self.seq)
        self._sent.pop(key, None)
        self._gone.pop(key, None)
        if not item.gone:
            self._sent[key] = sent
            return
        self._gone[key] = sent
        if len(self._gone) > _MAX_GONE:
            self._forgotten = self._gone.popitem(last=False)[1].seq

    def beat(self, at: int, every_ms: int, silent_ms: int = 0) -> bool:
        """Append a heartbeat when it is time; it has no number of its own.

        ``silent_ms``: how long nothing at all has come from Kafka, where that is unusual.
        """
        if at - self._heartbeat_at < every_ms:
            return False
        self._heartbeat_at = at
        silent = b',"silent_ms":%d' % silent_ms if silent_ms else b""
        data = b'{"seq":%d,"at":%d%s}' % (self.seq, at, silent)
        self.ring.append(Message("heartbeat", self.stream, self.seq, at, data))
        return True

    def snapshot(self, at: int, *, complete: bool = True) -> tuple[Message, int]:
        """Return the whole state, and the position in the ring from which on it goes on.

        ``complete`` False: what the database knows is not in it yet, and it says so.
        """
        kept = self._snapshot
        if kept and at - kept[0].at < _SNAPSHOT_FRESH_MS and kept[1] >= self.ring.start:
            return kept
        state = changes_json(sent.item for sent in self._sent.values())
        warning = b"" if complete else b',"complete":false'
        data = b'{"seq":%d,"at":%d%s,"state":%s}' % (self.seq, at, warning, state)
        made = Message("snapshot", self.stream, self.seq, at, data), self.ring.end
        self._snapshot = made
        return made

    def conflated(self, since: int, at: int) -> Message:
        """Return the newest of each key that changed after number ``since``, or a snapshot.

        What follows it comes after the ring's end.
        """
        if since < self._forgotten:
            self._snapshot = None
            return self.snapshot(at)[0]
        items = [*_after(self._gone, since), *_after(self._sent, since)]
        data = b'{"from":%d,"seq":%d,"at":%d,"changes":%s}' % (
            since,
            self.seq,
            at,
            changes_json(items),
        )
        return Message("conflated", self.stream, self.seq, at, data)


def _after(sent: OrderedDict[Key, _Sent], since: int) -> list[Item]:
    """Return the items sent after number ``since``: the last ones, for they are in order."""
    found = []
    for one in reversed(sent.values()):
        if one.seq <= since:
            break
        found.append(one.item)
    return found
