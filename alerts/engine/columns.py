"""Columns that grow together: one row for each subject of a source."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Columns"]

_FIRST_ROWS = 64


class Columns:
    """Named arrays of one length, at least doubled when they are too short.

    ``fills`` gives each column's value for new rows; its type is the column's, ``widths`` the
    second dimension of those that have one.
    """

    def __init__(self, fills: dict[str, Any], widths: dict[str, int] | None = None) -> None:
        self._fills = fills
        self._widths = widths or {}
        self._arrays = {name: self._new(name, 0) for name in fills}
        self.rows = 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return the column's rows, as a view."""
        return self._arrays[name][: self.rows]

    def _new(self, name: str, rows: int) -> NDArray[Any]:
        fill = self._fills[name]
        kind = object if fill is None else np.asarray(fill).dtype
        shape = (rows, self._widths[name]) if name in self._widths else (rows,)
        return np.full(shape, fill, dtype=kind)

    def extend_to(self, rows: int) -> None:
        """Have at least ``rows`` rows."""
        if rows <= self.rows:
            return
        capacity = len(next(iter(self._arrays.values())))
        if rows > capacity:
            more = max(_FIRST_ROWS, 2 * capacity, rows) - capacity
            for name, array in self._arrays.items():
                self._arrays[name] = np.concatenate([array, self._new(name, more)])
        self.rows = rows

    def keep(self, kept: NDArray[np.intp]) -> None:
        """Keep only these rows, in this order."""
        for name in self._arrays:
            self._arrays[name] = self[name][kept]
        self.rows = len(kept)
