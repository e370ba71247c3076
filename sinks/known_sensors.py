"""The newest time of every sensor met so far, to tell rows that must be new from the others.

``latest_<kind>`` is written in the transaction that writes ``readings_<kind>``, so a reading
later than its sensor's entry there cannot be in the history yet and needs no upsert.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEVER", "KnownSensors"]

NEVER = np.iinfo(np.int64).min
"""Newest time of a sensor that has no reading in the database."""


class KnownSensors:
    """Sensor key -> newest time in the database [ms]; of one kind, for the partitions we own."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.int64)
        self._newest = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def unknown(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of the sorted unique ``keys`` that are not known."""
        return keys[~self._found(keys)[1]]

    def newest(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64[n], the newest time of each key; NEVER for one not known."""
        at, found = self._found(keys)
        return np.where(found, self._newest[at] if len(self) else NEVER, NEVER)

    def learn(self, keys: NDArray[np.int64], newest: NDArray[np.int64]) -> None:
        """Add keys not yet known."""
        order = np.argsort(keys)
        at = np.searchsorted(self._keys, keys[order])
        self._keys = np.insert(self._keys, at, keys[order])
        self._newest = np.insert(self._newest, at, newest[order])

    def advance(self, keys: NDArray[np.int64], newest: NDArray[np.int64]) -> None:
        """Note that known ``keys`` (unique) have a reading at ``newest``; never goes back."""
        at = np.searchsorted(self._keys, keys)
        self._newest[at] = np.maximum(self._newest[at], newest)

    def _found(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        if not len(self):
            return np.zeros(len(keys), np.intp), np.zeros(len(keys), np.bool_)
        at = np.searchsorted(self._keys, keys).clip(max=len(self) - 1)
        return at, self._keys[at] == keys
