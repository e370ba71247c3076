"""How the things that are decided about stand, as the sink has stored them; read only."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from civicstream.postgres import Pool
from civicstream.service_events import Action
from feeds.operations.decisions import Kind, Standing

__all__ = ["OperationStore"]

_TIMEOUT_S = 5


def _ms(column: str) -> str:
    return f"round(extract(epoch FROM {column}) * 1000)::bigint"


_STANDING: dict[Kind, str] = {
    "alert": f"SELECT area, state, {_ms('acknowledged_at')}, acknowledged_by, "  # noqa: S608
    f"{_ms('silenced_until')} FROM alerts_current WHERE id = %s",
    "allocation": "SELECT area, state FROM allocations_current WHERE id = %s",
    "case": "SELECT area, state FROM cases_current WHERE id = %s",
}
_ACTION = (
    f"SELECT id, subject, action, area, by, {_ms('at')}, note, value "  # noqa: S608
    "FROM actions WHERE id = %s"
)


class OperationStore:
    """A small pool of its own; every failure is ServerUnavailable."""

    def __init__(self, url: SecretStr) -> None:
        self._pool = Pool(url, "civicstream-operations", most=2, patience_s=_TIMEOUT_S)
        self.open, self.close = self._pool.open, self._pool.close

    async def standing(self, kind: Kind, id_: str) -> Standing | None:
        """Return how the newest version stands, None when there is none."""
        row = await self._row(_STANDING[kind], id_)
        return Standing(*row) if row else None

    async def unit_state(self, unit: str) -> str | None:
        row = await self._row("SELECT state FROM units_current WHERE id = %s", unit)
        return str(row[0]) if row else None

    async def action(self, id_: str) -> Action | None:
        row = await self._row(_ACTION, id_)
        return Action(*row) if row else None

    async def _row(self, statement: str, value: str) -> tuple[Any, ...] | None:
        if "\0" in value:
            return None  # PostgreSQL cannot hold it, so it holds none
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), (value,))
            return await cursor.fetchone()
