"""How far back rows are kept: what is older is not written any more.

Retention would take it at once; until then each day of it costs a chunk of its own, and a device
whose clock is wrong would make thousands.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from civicstream.clock import rfc3339
from civicstream.postgres import Connection
from civicstream.reading_age import MaxAge
from civicstream.settings import DatabaseSettings
from sinks.database.schema import time_tables
from sinks.tables import BulkTable

__all__ = ["Kept", "kept"]

_SETTINGS = "CIVICSTREAM_DATABASE__..._RETENTION_DAYS"
_TIMES = {t.name: t.time_column for t in time_tables(DatabaseSettings()) if t.hypertable}


class Kept:
    """What each hypertable keeps, as of ``now_ms``; of it only ``most_days``, if that is given."""

    def __init__(self, days: dict[str, int], now_ms: int, most_days: int | None = None) -> None:
        self._days = days
        self._now_ms = now_ms
        self._most_days = most_days

    @property
    def reason(self) -> str:
        """Return the dead letters' reason."""
        return "too_old" if self._most_days is None else "too_much"

    def too_old(self, table: BulkTable, columns: list[Any]) -> NDArray[np.bool_] | None:
        """Return bool[n]: rows that retention would take at once; None where none is."""
        name = _TIMES.get(table.name)
        if name is None or not len(columns[0]) or table.name not in self._days:
            return None
        old: NDArray[np.bool_] = columns[table.columns.index(name)] < self._oldest(table.name)
        return old if old.any() else None

    def why(self, table: BulkTable) -> str:
        """Return the sentence for such a row."""
        if self._most_days is not None:
            return (
                f"with it the database has no room for the locks of the transaction; of its frame "
                f"the rows of the last {self._most_days} days were written: send fewer days at "
                "once, or raise max_locks_per_transaction"
            )
        return (
            f"older than the {self._days[table.name]} days that {table.name} keeps "
            f"(since {rfc3339(self._oldest(table.name))}); correct the clock of the sender, or "
            f"keep more ({_SETTINGS}) and run civicstream init"
        )

    def _oldest(self, table: str) -> int:
        days = min(self._days[table], self._most_days or self._days[table])
        return MaxAge(days, _SETTINGS).oldest_ms(self._now_ms)


def kept(connection: Connection, now_ms: int, most_days: int | None = None) -> Kept:
    """Return the rules as `init` has written them, the same by which rows are removed."""
    rows = connection.execute("SELECT table_name, keep_days FROM retention").fetchall()
    return Kept(dict(rows), now_ms, most_days)
