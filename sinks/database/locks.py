"""Locks of tables that others use: waited for briefly and again, not for as long as it takes.

Whoever waits for a lock that excludes others makes everybody wait who comes after: behind one long
reader `init` would stop every sink.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from psycopg import errors

from civicstream.errors import ServerUnavailable
from civicstream.postgres import Connection

__all__ = ["with_brief_locks"]

T = TypeVar("T")

log = logging.getLogger(__name__)

_WAIT_S = 2.0
"""How long one attempt waits for a lock, and may hold up others."""
_PAUSE_S = 1.0


def with_brief_locks(
    connection: Connection, work: Callable[[], T], what: str, timeout_s: float
) -> T:
    """Return what ``work`` returns, run in a transaction that gives up a lock it does not get soon.

    It is begun again for ``timeout_s``. Raise ServerUnavailable that names who is in the way.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {round(_WAIT_S * 1000)}".encode())
                return work()
        except errors.LockNotAvailable as error:
            holders = _in_the_way(connection)
            if time.monotonic() >= deadline:
                raise ServerUnavailable(
                    f"{what}: a table is in use and was not free within {timeout_s:g} s "
                    f"({error.diag.message_primary}); it stays as it was. In the way: "
                    f"{holders}. End them (SELECT pg_terminate_backend(pid)) or run it again later"
                ) from error
            log.warning("%s: waiting for a table that is in use by %s", what, holders)
        time.sleep(_PAUSE_S)


def _in_the_way(connection: Connection) -> str:
    """Name the other sessions that hold locks on our tables; what they run, superusers see only."""
    rows = connection.execute(
        "SELECT l.pid, a.application_name, a.usename, min(l.relation::regclass::text), "
        "round(extract(epoch FROM clock_timestamp() - a.xact_start)) "
        "FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a USING (pid) "
        "WHERE l.granted AND a.datname = current_database() AND l.pid <> pg_backend_pid() "
        "AND c.relnamespace = current_schema::regnamespace AND c.relkind = 'r' "
        "GROUP BY l.pid, a.application_name, a.usename, a.xact_start ORDER BY a.xact_start LIMIT 5"
    ).fetchall()
    return (
        "; ".join(
            f"pid {pid} ({application or 'no name'}, user {user}, using {table}"
            + (f", for {seconds} s)" if seconds is not None else ")")
            for pid, application, user, table, seconds in rows
        )
        or "sessions that have ended meanwhile"
    )
