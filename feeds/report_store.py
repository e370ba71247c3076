"""Reports and their cases in PostgreSQL, read only."""

from __future__ import annotations

from typing import Any

from psycopg import sql
from psycopg.rows import class_row
from pydantic import SecretStr

from civicstream.postgres import Pool
from feeds.open311.filters import MAX_REQUESTS, RequestFilter
from feeds.open311.request_view import CLOSED_STATES, StoredRequest

__all__ = ["ReportStore"]

_MAX_CONNECTIONS = 8
# A citizen's app gives up after some ten seconds; what takes longer only holds others up.
_TIMEOUT_S = 5

_SELECT = """
SELECT r.id, r.service, r.lon, r.lat, r.description, r.reported_at, r.received_at, r.address,
       r.media_url, c.state, c.agency, c.note, c.updated_at, c.due_at
FROM reports r LEFT JOIN cases_current c ON c.id = r.case_id
"""
_NEWEST_FIRST = "ORDER BY r.reported_at DESC, r.id LIMIT %(limit)s"


class ReportStore:
    """A pool of its own, so that a citizen waits for no query of the history."""

    def __init__(self, url: SecretStr) -> None:
        self._pool = Pool(url, "civicstream-feeds", most=_MAX_CONNECTIONS, patience_s=_TIMEOUT_S)
        self.open, self.close = self._pool.open, self._pool.close
        self.answers = self._pool.answers

    async def find(self, wanted: RequestFilter) -> list[StoredRequest]:
        """Return the requests that are wanted, the newest first, at most MAX_REQUESTS.

        Raise ServerUnavailable while the database is away or has no schema yet.
        """
        conditions, values = _conditions(wanted)
        where = sql.SQL("WHERE {} ").format(sql.SQL(" AND ").join(conditions))
        query = sql.SQL(_SELECT) + where + sql.SQL(_NEWEST_FIRST)
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(StoredRequest)) as cursor,
        ):
            await cursor.execute(query, {**values, "limit": MAX_REQUESTS})
            return await cursor.fetchall()


def _conditions(wanted: RequestFilter) -> tuple[list[sql.SQL], dict[str, Any]]:
    if wanted.ids is not None:
        return [sql.SQL("r.id = ANY(%(ids)s)")], {"ids": list(wanted.ids)}
    conditions: list[sql.SQL] = [sql.SQL("TRUE")]
    values: dict[str, Any] = {}
    if wanted.services is not None:
        conditions.append(sql.SQL("r.service = ANY(%(services)s)"))
        values["services"] = list(wanted.services)
    if wanted.start is not None:
        conditions.append(sql.SQL("r.reported_at >= %(start)s"))
        values["start"] = wanted.start
    if wanted.end is not None:
        conditions.append(sql.SQL("r.reported_at <= %(end)s"))
        values["end"] = wanted.end
    if wanted.statuses is not None and len(wanted.statuses) == 1:
        closed = "closed" in wanted.statuses
        # a report without a case is open
        state = "coalesce(c.state, '') = ANY(%(closed)s)"
        conditions.append(sql.SQL(state if closed else f"NOT {state}"))
        values["closed"] = list(CLOSED_STATES)
    return conditions, values
