"""The sensors of one kind in one partition as rows of columns, found by their key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Column", "KeyIndex", "SensorTable"]

Keys = NDArray[np.int64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Column:
    """State per sensor, or per sensor and measure; ``slow`` is learned and written seldom."""

    name: str
    dtype: str
    fill: float = 0
    per_measure: bool = False
    slow: bool = False


class KeyIndex:
    """The row of a key.

    Keys are hashes, so their low bits address a table directly; only the few keys that share a
    slot are looked up by bisection. Ten times as fast as bisection alone, which matters because
    every reading asks.
    """

    def __init__(self) -> None:
        self.keys: Keys = np.zeros(0, np.int64)
        self._build()

    def __len__(self) -> int:
        return len(self.keys)

    def append(self, keys: Keys) -> None:
        """Add keys that are not in it yet; their rows follow those that are."""
        self.keys = np.concatenate([self.keys, keys])
        self._build()

    def _build(self) -> None:
        n = len(self.keys)
        self._mask = np.int64(2 ** (4 * n + 1).bit_length() - 1)
        self._slots = np.zeros(int(self._mask) + 1, np.int32)
        self._slots[self.keys & self._mask] = np.arange(n)
        self._order = np.argsort(self.keys)
        self._sorted = self.keys[self._order]

    def rows(self, keys: Keys) -> Rows:
        """Return each key's row, -1 where it has none."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.intp)
        found: Rows = self._slots[keys & self._mask].astype(np.intp)
        miss = np.flatnonzero(self.keys[found] != keys)
        at = np.searchsorted(self._sorted, keys[miss]).clip(max=len(self.keys) - 1)
        found[miss] = np.where(self._sorted[at] == keys[miss], self._order[at], -1)
        return found


class SensorTable:
    """Columns over the sensors; ``table["name"]`` is the column's array, to be changed in place."""

    def __init__(self, columns: Sequence[Column], measures: int) -> None:
        self.columns = {column.name: column for column in columns}
        self._measures = measures
        self._index = KeyIndex()
        self._data: dict[str, NDArray[Any]] = {c.name: self._fresh(c, 0) for c in columns}

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._data[name]

    @property
    def keys(self) -> Keys:
        return self._index.keys

    def rows(self, keys: Keys) -> Rows:
        """Return the row of each key, -1 where there is none."""
        return self._index.rows(keys)

    def append(self, keys: Keys) -> Rows:
        """Add sensors, which must be new and distinct; return their rows."""
        n = len(self)
        self._index.append(keys)
        for name, column in self.columns.items():
            self._data[name] = np.concatenate([self._data[name], self._fresh(column, len(keys))])
        return np.arange(n, n + len(keys))

    def _fresh(self, column: Column, n: int) -> NDArray[Any]:
        shape = (n, self._measures) if column.per_measure else (n,)
        return np.full(shape, column.fill, column.dtype)
