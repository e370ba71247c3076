"""Retention: rows past their time are removed; ended processes leave the ledger topic."""

from __future__ import annotations

import logging
import threading

from pydantic import SecretStr

from civicstream.errors import CivicStreamError
from civicstream.settings import Settings
from sinks.database import connect, translated
from sinks.settling import settle_reports

__all__ = ["Maintenance", "remove_old_rows"]

log = logging.getLogger(__name__)

_LOCK = 0x0C171C58
"""Advisory lock of maintenance."""


def remove_old_rows(url: SecretStr) -> list[tuple[str, int, int]] | None:
    """Apply retention; return (table, chunks dropped, rows deleted), None if another is at it."""
    with connect(url, "civicstream-maintenance") as connection, translated():
        locked = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).fetchone()
        if not (locked and locked[0]):
            return None
        rows = connection.execute(
            "SELECT name, chunks_dropped, rows_deleted FROM apply_retention()"
        ).fetchall()
    return [(name, chunks, deleted) for name, chunks, deleted in rows]


class Maintenance(threading.Thread):
    """Does both every so often on connections of its own, beside the writing."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="maintenance")
        self._settings = settings
        self._stop_event = threading.Event()

    def run(self) -> None:
        while not self._stop_event.wait(self._settings.sink.maintenance_every_s):
            try:
                removed = remove_old_rows(self._settings.database.url)
                settle_reports(self._settings)
            except CivicStreamError as error:
                log.warning("maintenance waits for its next turn: %s", error)
                continue
            for table, chunks, deleted in removed or ():
                if chunks or deleted:
                    log.info("retention: %s: %d chunks, %d rows removed", table, chunks, deleted)

    def stop(self) -> None:
        """End the thread; a removal under way is finished first."""
        self._stop_event.set()
        self.join()
