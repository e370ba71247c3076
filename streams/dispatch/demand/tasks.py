"""The tasks that are open, as columns: what is to be done where, since when, by when."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["OpenTask", "OpenTasks", "Totals"]

Floats = NDArray[np.float64]

_MOST_LATE = 3.0
"""Beyond three times its target a task does not become more urgent."""


class OpenTask(msgspec.Struct, array_like=True, frozen=True):
    """One open task: a case, a container to be emptied, something unusual in a network."""

    area: str
    service: str
    priority: int
    weight: float
    opened_at: int
    due_at: int


@dataclass(frozen=True)
class Totals:
    """[areas, services]"""

    number: Floats
    weighted: Floats


class OpenTasks:
    """Rows are given back when a task is done, so that the columns stay as short as they may."""

    def __init__(self) -> None:
        self._row: dict[str, int] = {}
        self._free: list[int] = []
        self._columns = np.zeros((6, 64))
        """Area, service, priority, weight, opened_at, due_at; area -1: no task."""
        self._columns[0] = -1

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, key: str) -> bool:
        return key in self._row

    def put(self, key: str, task: OpenTask, area: int, service: int) -> None:
        """Open a task or change it."""
        row = self._row.get(key)
        if row is None:
            row = self._row[key] = self._free.pop() if self._free else len(self._row)
            if row == self._columns.shape[1]:
                more = np.zeros_like(self._columns)
                more[0] = -1
                self._columns = np.concatenate([self._columns, more], axis=1)
        self._columns[:, row] = (
            area,
            service,
            task.priority,
            task.weight,
            task.opened_at,
            task.due_at,
        )

    def close(self, key: str) -> bool:
        """Take a task off; return whether it was there."""
        row = self._row.pop(key, None)
        if row is None:
            return False
        self._columns[0, row] = -1
        self._free.append(row)
        return True

    def totals(self, areas: int, services: int, now_ms: int) -> Totals:
        """Return how many are open, and their sum weighted by priority, age and reporters.

        A task counts weight · 2^(3 - priority) · (1 + age / target), the last at most 4: one
        report of normal priority counts 1 when it comes and 2 at its target.
        """
        columns = self._columns[:, self._columns[0] >= 0]
        # In an order that does not depend on their rows: sums then are the same to the last bit.
        area, service, priority, weight, opened, due = columns[:, np.lexsort(columns)]
        cell = (area * services + service).astype(np.intp)
        age = np.maximum(now_ms - opened, 0) / np.maximum(due - opened, 1.0)
        urgency = weight * 2.0 ** (3 - priority) * (1 + np.minimum(age, _MOST_LATE))
        shape = (areas, services)
        return Totals(
            np.bincount(cell, minlength=areas * services).reshape(shape).astype(np.float64),
            np.asarray(np.bincount(cell, urgency, minlength=areas * services).reshape(shape)),
        )
