"""Retention, a slice at a time; and ended processes leave the ledger topic."""

from __future__ import annotations

import logging
import threading

import psycopg
from pydantic import SecretStr

from civicstream.errors import CivicStreamError
from civicstream.postgres import Connection, connect, translated
from civicstream.settings import Settings
from sinks.admin.settling import settle_reports

__all__ = ["Maintenance", "remove_old_rows"]

log = logging.getLogger(__name__)

_LOCK = 0x0C171C58
"""Advisory lock of maintenance."""
_MOST_CHUNKS = 50
"""Chunks dropped in one transaction: some ten locks each, of which PostgreSQL has 6,400 for all
its connections as it comes."""
_MOST_ROWS = 100_000
"""Rows deleted in one transaction: a fraction of a second."""


def remove_old_rows(
    url: SecretStr, stop: threading.Event | None = None
) -> list[tuple[str, int, int]] | None:
    """Apply retention; return (table, chunks dropped, rows deleted), None if another is at it.

    Each slice is a transaction of its own. A rule that fails is logged, the others are applied.
    """
    ending = stop or threading.Event()
    with connect(url, "civicstream-maintenance") as connection, translated():
        connection.autocommit = True
        # Of the session: it outlives the transactions, and ends with the connection.
        locked = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if not (locked and locked[0]):
            return None
        rules = connection.execute("SELECT table_name FROM retention ORDER BY 1").fetchall()
        return [(name, *_apply(connection, name, ending)) for (name,) in rules]


def _apply(connection: Connection, rule: str, stop: threading.Event) -> tuple[int, int]:
    """Return how many chunks and rows of the rule's table were removed."""
    chunks = rows = 0
    more = True
    while more and not stop.is_set():
        try:
            found = connection.execute(
                "SELECT chunks_dropped, rows_deleted, more FROM apply_retention(%s, %s, %s)",
                (rule, _MOST_CHUNKS, _MOST_ROWS),
            ).fetchone()
        except psycopg.Error as error:
            if connection.broken:
                raise
            log.warning("retention of %s stopped after %d chunks: %s", rule, chunks, error)
            break
        dropped, deleted, more = found or (0, 0, False)
        chunks, rows = chunks + dropped, rows + deleted
    return chunks, rows


class Maintenance(threading.Thread):
    """Does both every so often on connections of its own, beside the writing."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="maintenance")
        self._settings = settings
        self._stop_event = threading.Event()

    def run(self) -> None:
        while not self._stop_event.wait(self._settings.sink.maintenance_every_s):
            try:
                removed = remove_old_rows(self._settings.database.url, self._stop_event)
                settle_reports(self._settings)
            except CivicStreamError as error:
                log.warning("maintenance waits for its next turn: %s", error)
                continue
            for table, chunks, deleted in removed or ():
                if chunks or deleted:
                    log.info("retention: %s: %d chunks, %d rows removed", table, chunks, deleted)

    def stop(self) -> None:
        """End the thread; the slice under way is finished first."""
        self._stop_event.set()
        self.join()
