"""Items of state by id, with note of what changed since they were last written down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

__all__ = ["Shelf"]

T = TypeVar("T", bound=msgspec.Struct)


class Shelf(Generic[T]):
    """Items of one type by id; notes in ``changed`` which were put, touched or dropped."""

    def __init__(self, name: str, holds: type[T], changed: set[str]) -> None:
        self._name = name
        self._items: dict[str, T] = {}
        self._changed = changed
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(holds).decode

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def key(self, item_id: str) -> str:
        return f"{self._name}/{item_id}"

    def get(self, item_id: str) -> T | None:
        return self._items.get(item_id)

    def put(self, item_id: str, item: T) -> None:
        """Keep the item, or note that it was changed in place."""
        self._items[item_id] = item
        self._changed.add(self.key(item_id))

    def drop(self, item_id: str) -> None:
        if self._items.pop(item_id, None) is not None:
            self._changed.add(self.key(item_id))

    def dump(self, item_id: str) -> bytes | None:
        item = self._items.get(item_id)
        return None if item is None else self._encode(item)

    def load(self, item_id: str, data: bytes) -> T:
        """Take up a dumped item without noting a change; raise msgspec.MsgspecError."""
        item = self._items[item_id] = self._decode(data)
        return item
