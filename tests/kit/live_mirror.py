"""A client's copy of the live state, kept as the documentation tells clients to keep it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Mirror"]

State = dict[str, dict[str, Any]]


class Mirror:
    """Applies events and fails for a hole in the numbers."""

    def __init__(self) -> None:
        self.state: State = {}
        self.seq: int | None = None
        self.seen: list[str] = []
        """Names of the events, heartbeats left out."""

    def apply(self, event: str, data: Mapping[str, Any]) -> None:
        if event == "heartbeat":
            assert data["seq"] == self.seq
            return
        self.seen.append(event)
        if event == "snapshot":
            self.state = {}
            self._put(data["state"])
        elif event == "delta":
            assert self.seq is not None, "a delta came first"
            assert data["seq"] == self.seq + 1, f"{self.seq} is followed by {data['seq']}"
            self._put(data["changes"])
        else:
            assert event == "conflated", event
            assert data["from"] == self.seq
            assert data["seq"] > data["from"]
            self._put(data["changes"])
        self.seq = data["seq"]

    def _put(self, changes: Mapping[str, list[dict[str, Any]]]) -> None:
        for topic, items in changes.items():
            held = self.state.setdefault(topic, {})
            for item in items:
                if item.get("gone"):
                    held.pop(item["id"], None)
                else:
                    held[item["id"]] = item

    @property
    def items(self) -> dict[tuple[str, str], Any]:
        """Topic and id -> item."""
        return {(t, i): item for t, held in self.state.items() for i, item in held.items()}
