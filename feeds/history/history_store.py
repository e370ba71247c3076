"""Read-only connections for the history, apart from those that answer citizens."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from pydantic import SecretStr

from civicstream.errors import ServerUnavailable
from civicstream.postgres import AsyncConnection, Pool
from feeds.history.encodings import Row
from feeds.problems import Problem

__all__ = ["HistoryStore"]

_MAX_CONNECTIONS = 8
_MAX_WAITING = 64
_TIMEOUT_S = 10
_YEAR_2000_MS = 946_684_800_000
_RETRY_AFTER = {"retry-after": "5"}


class _EpochMs(Loader):
    """Reads timestamptz as epoch milliseconds: int64 [µs since 2000] in PostgreSQL's own form."""

    format = Format.BINARY
    _unpack = struct.Struct(">q").unpack

    def load(self, data: Buffer) -> int:
        (microseconds,) = self._unpack(data)
        return int(microseconds // 1000) + _YEAR_2000_MS


async def _configure(connection: AsyncConnection) -> None:
    connection.adapters.register_loader("timestamptz", _EpochMs)


class HistoryStore:
    """A pool of its own; every failure is a Problem."""

    def __init__(self, url: SecretStr) -> None:
        self._pool = Pool(
            url,
            "civicstream-history",
            most=_MAX_CONNECTIONS,
            max_waiting=_MAX_WAITING,
            patience_s=_TIMEOUT_S,
            remedy="ask for a shorter span, a longer step, or fewer areas",
            configure=_configure,
        )
        self.open, self.close = self._pool.open, self._pool.close

    async def fetch(self, statement: str, values: Mapping[str, Any]) -> list[Row]:
        """Return all rows of one statement.

        Raise Problem 503 while the database is away, has no schema yet or is too busy.
        """
        async with self._connection() as connection:
            cursor = await connection.execute(statement.encode(), values, binary=True)
            return await cursor.fetchall()

    async def fetch_all(
        self, statements: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> list[list[Row]]:
        """Return the rows of several statements that see the same state of the database."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            found = []
            for statement, values in statements:
                cursor = await connection.execute(statement.encode(), values, binary=True)
                found.append(await cursor.fetchall())
            return found

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._pool.connection() as connection:
                yield connection
        except ServerUnavailable as error:
            raise Problem(503, str(error), _RETRY_AFTER) from error
