"""State as items by key, of which a commit writes those that changed; one codec and one error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from civicstream.errors import DataError

__all__ = [
    "StateItems",
    "StateStore",
    "StateTable",
    "dump",
    "foreign_item",
    "load",
    "under",
    "unknown_item",
]

K = TypeVar("K")
T = TypeVar("T")

dump = msgspec.msgpack.Encoder().encode
"""Return the bytes of an item: MessagePack."""


class StateItems(Protocol):
    """State that is written item by item, each under its key, with the commit that changed it."""

    def changed(self) -> dict[str, bytes | None]:
        """Return the items that changed since the last call; None: drop that key."""

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave so far, into state that is new.

        Raises DataError, naming the key, for others.
        """


def load(owner: str, key: str, data: bytes, holds: type[T]) -> T:
    """Return an item that ``dump`` made; raise DataError, naming ``owner`` and key, for others."""
    try:
        return msgspec.msgpack.decode(data, type=holds)
    except msgspec.MsgspecError as error:
        raise foreign_item(owner, key, f"{len(data)} bytes do not decode ({error})") from error


def foreign_item(owner: str, key: str, problem: str) -> DataError:
    """Return the error for an item that ``owner`` cannot go on from."""
    return DataError(
        "state_value", f"{owner} state {key!r}: {problem}; it is of another version: leave it out"
    )


def unknown_item(owner: str, key: str) -> DataError:
    """Return the error for a key that no state of ``owner`` has."""
    return DataError("state_key", f"{owner} state {key!r}: no such kind of item; leave it out")


def under(prefix: str, items: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the items whose keys begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in items.items() if k.startswith(prefix)}


class StateTable(dict[K, T], Generic[K, T]):
    """Items of one type by id; it notes which were set or deleted since they were written down.

    An item that was changed in place has to be set again, or its id touched.
    """

    def __init__(self, name: str, holds: type[T], as_id: Callable[[str], K]) -> None:
        super().__init__()
        self._name = name
        self._holds = holds
        self._as_id = as_id
        self._touched: dict[K, None] = {}

    def __setitem__(self, item_id: K, item: T) -> None:
        super().__setitem__(item_id, item)
        self._touched[item_id] = None

    def __delitem__(self, item_id: K) -> None:
        super().__delitem__(item_id)
        self._touched[item_id] = None

    def touch(self, item_id: K) -> None:
        """Note that an item was changed in place."""
        self._touched[item_id] = None

    def discard(self, item_id: K) -> None:
        """Delete an item, if there is one."""
        if item_id in self:
            del self[item_id]

    def key(self, item_id: K) -> str:
        return f"{self._name}/{item_id}"

    def changed(self) -> dict[str, bytes | None]:
        """Return the items that changed since the last call; None: drop that key."""
        found = {
            self.key(item_id): dump(self[item_id]) if item_id in self else None
            for item_id in self._touched
        }
        self._touched.clear()
        return found

    def take_up(self, owner: str, key: str, data: bytes) -> None:
        """Put an item back without noting a change; raise DataError for foreign bytes."""
        try:
            item_id = self._as_id(key.partition("/")[2])
        except ValueError:
            raise unknown_item(owner, key) from None
        super().__setitem__(item_id, load(owner, key, data, self._holds))


class StateStore:
    """Tables of items under the keys ``table/id``; ``owner`` names them in errors."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tables: dict[str, StateTable[Any, Any]] = {}

    def table(self, name: str, holds: type[T], as_id: Callable[[str], K]) -> StateTable[K, T]:
        """Return a new table; ``as_id`` makes an id of the text that it has in a key."""
        table = StateTable(name, holds, as_id)
        self._tables[name] = table
        return table

    def changed(self) -> dict[str, bytes | None]:
        """Return the items that changed since the last call; None: drop that key."""
        return {k: v for table in self._tables.values() for k, v in table.changed().items()}

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave; raise DataError, naming the key."""
        for key, data in sorted(items.items()):
            table = self._tables.get(key.partition("/")[0])
            if table is None:
                raise unknown_item(self._owner, key)
            table.take_up(self._owner, key, data)
