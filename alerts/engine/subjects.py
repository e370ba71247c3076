"""The subjects of a source: each one's row, place, and how far its events have come."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerts.engine.alert_state import Held
from alerts.engine.columns import Columns
from alerts.rules.sources import EventColumns, Source

__all__ = ["Codes", "Subjects"]

Rows = NDArray[np.intp]


class Codes:
    """Numbers for names, in order of appearance."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._index: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def of(self, name: str) -> int:
        if name not in self._index:
            self._index[name] = len(self.names)
            self.names.append(name)
        return self._index[name]


class Subjects:
    """The subjects of one source; a row each.

    Columns: ``area`` and ``segment`` (codes, -1 for none), ``at`` and ``order`` of the newest
    event, ``event`` and ``item`` (its row of the event), for messages.
    """

    def __init__(self, kind: str, source: Source, areas: Codes, segments: Codes) -> None:
        self.kind = kind
        self._event = source.event
        self.names: list[str] = []
        self.behind_ms = 0
        """How old the newest event was when it came: the clock less this is how far they are."""
        self._newest = 0
        self.columns = Columns(
            {"area": -1, "segment": -1, "at": 0, "order": -1, "event": None, "item": None}
        )
        self._index: dict[str, int] = {}
        self._areas = areas
        self._segments = segments

    def __len__(self) -> int:
        return len(self.names)

    def rows_of(
        self, names: Sequence[str], area: str, segments: Sequence[str] | None = None
    ) -> Rows:
        """Return the row of each name, with new rows for those not known yet."""
        index = self._index
        try:
            found = itemgetter(*names)(index) if names else ()
        except KeyError:
            found = tuple(self._add(n, area) for n in names)
        rows = np.array(found, dtype=np.intp).reshape(-1)
        columns = self.columns
        if segments is not None and len(rows) and (columns["segment"][rows] < 0).any():
            columns["segment"][rows] = [self._segments.of(s) for s in segments]
        return rows

    def _add(self, name: str, area: str) -> int:
        row = self._index.get(name)
        if row is None:
            row = self._index[name] = len(self.names)
            self.names.append(name)
            self.columns.extend_to(len(self.names))
            self.columns["area"][row] = self._areas.of(area)
        return row

    def find(self, name: str) -> int | None:
        return self._index.get(name)

    def area_of(self, row: int) -> str:
        return self._areas.names[int(self.columns["area"][row])]

    def segment_of(self, row: int) -> str | None:
        code = int(self.columns["segment"][row])
        return None if code < 0 else self._segments.names[code]

    def restore(self, name: str, held: Held) -> int:
        """Return the row of a subject that a state store knew, with what it knew of it."""
        own = None if held.segment is None else [held.segment]
        row, columns = int(self.rows_of([name], held.area, own)[0]), self.columns
        if columns["order"][row] < held.order:
            columns["order"][row], columns["at"][row] = held.order, held.at
            if held.event is not None:
                event = msgspec.convert(held.event, type=self._event)
                columns["event"][row] = columns["item"][row] = event
        return row

    def take(self, rows: Rows, batch: EventColumns) -> NDArray[np.bool_]:
        """Note the event for those rows for which it is news; return which these are."""
        columns, order = self.columns, batch.order
        fresh: NDArray[np.bool_] = columns["order"][rows] < order
        news = rows[fresh]
        columns["order"][news] = order
        columns["at"][news] = batch.at
        columns["event"][news] = batch.event
        if len(batch.rows) == len(rows):
            items = np.empty(len(rows), dtype=object)
            items[:] = batch.rows
            columns["item"][news] = items[fresh]
        return fresh

    def came(self, at: int, now_ms: int) -> None:
        """Note that an event of ``at`` came when the clock said ``now_ms``."""
        if at >= self._newest:
            self._newest, self.behind_ms = at, max(0, now_ms - at)

    def fields(self, row: int) -> dict[str, Any]:
        """Return what messages may name of the newest event."""
        event, item = self.columns["event"][row], self.columns["item"][row]
        known: dict[str, Any] = {}
        for struct in (event, item):
            if struct is not None:
                known |= {name: getattr(struct, name) for name in struct.__struct_fields__}
        return known

    def keep(self, kept: Rows) -> None:
        """Forget every other row."""
        self.columns.keep(kept)
        self.names = [self.names[row] for row in kept.tolist()]
        self._index = {name: row for row, name in enumerate(self.names)}
