"""What clients hold: per topic the newest item of each key."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from feeds.live.places import Box

__all__ = ["LIVE_TOPICS", "Item", "Key", "gone"]

LIVE_TOPICS = (
    "segments",
    "environment",
    "incidents",
    "anomalies",
    "alerts",
    "cases",
    "units",
    "allocations",
    "forecasts",
    "health",
    "demand",
    "ledger",
    "status",
)

Key = tuple[str, str]
"""Topic and id."""


@dataclass(slots=True, frozen=True)
class Item:
    """One item as clients get it, with what filters and the order of versions need."""

    topic: str
    id: str
    data: bytes
    """The item's JSON object, encoded once for everyone."""
    order: tuple[int, ...]
    """Of two items of a key the one with the greater order is newer."""
    area: str | None = None
    box: Box | None = None
    """None: it has no place, so no bounding box leaves it out."""
    severity: int | None = None
    """Index into ``filters.SEVERITIES``; None: it has none, so no severity leaves it out."""
    closed: bool = False
    """It has come to its end: clients keep it some minutes."""
    gone: bool = False
    """It is to be removed."""

    @property
    def key(self) -> Key:
        return self.topic, self.id


def gone(item: Item) -> Item:
    """Return what takes ``item`` away at the clients."""
    data = msgspec.json.encode({"id": item.id, "gone": True})
    return Item(item.topic, item.id, data, item.order, item.area, gone=True)
