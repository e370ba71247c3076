"""Whom a case concerns, from the sealed records, as civicstream_private."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg
from pydantic import SecretStr

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.postgres import Connection, connect, translated

__all__ = ["People"]


class People:
    """One connection, made again after a failure."""

    def __init__(self, url: SecretStr) -> None:
        self._url = url
        self._connection: Connection | None = None

    def changed(self, case_id: str, version: int) -> bool | None:
        """Return whether that version changed the state; None: the sink has it not yet.

        Raise ServerUnavailable while the database is away.
        """
        rows = self._rows("SELECT state, before FROM private.case_states(%s, %s)", case_id, version)
        return rows[0][0] != rows[0][1] if rows else None

    def sealed(self, case_id: str, version: int) -> list[tuple[str, str]]:
        """Return (report, sealed record) of everybody who reported it up to that version."""
        query = "SELECT report, sealed FROM private.people_of_case(%s, %s)"
        return [(report, sealed) for report, sealed in self._rows(query, case_id, version)]

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            if self._connection is None:
                self._connection = connect(self._url, "civicstream-deliver")
                self._connection.autocommit = True
            with translated():
                return self._connection.execute(query.encode(), values).fetchall()
        except ServerUnavailable:
            self.close()
            raise
        except ConfigurationError as error:
            self.close()
            raise ConfigurationError(
                f"{error} (to tell citizens, deliver reads as civicstream_private: "
                "CIVICSTREAM_DATABASE__PRIVATE_URL)"
            ) from error

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None
