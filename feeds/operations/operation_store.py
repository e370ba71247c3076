"""How the things that are decided about stand, as the sink has stored them; read only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from pydantic import SecretStr

from civicstream.errors import ServerUnavailable
from civicstream.service_events import Action
from feeds.operations.decisions import Kind, Standing

__all__ = ["OperationStore"]

Connection = psycopg.AsyncConnection[Any]

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
    """A small pool; ``open`` does not wait. Every failure is ServerUnavailable."""

    def __init__(self, url: SecretStr) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url.get_secret_value(),
            open=False,
            min_size=1,
            max_size=2,
            timeout=_TIMEOUT_S,
            reconnect_timeout=5,
            kwargs={
                "autocommit": True,
                "application_name": "civicstream-operations",
                "connect_timeout": _TIMEOUT_S,
                "options": "-c default_transaction_read_only=on "
                f"-c statement_timeout={_TIMEOUT_S * 1000} -c timezone=UTC",
            },
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

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
        async with self._connection() as connection:
            cursor = await connection.execute(statement.encode(), (value,))
            return await cursor.fetchone()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except errors.UndefinedTable as error:
            raise ServerUnavailable(
                f"the database has no {error.diag.message_primary}; run `civicstream init`"
            ) from error
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise ServerUnavailable(f"the database does not answer: {error}") from error
