"""Bring a database to the schema of this version: numbered migrations, then what is declared.

Everything runs in one transaction under an advisory lock, so a failure leaves the database as
it was, and two processes at once do the work once.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg

from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS
from civicstream.settings import DatabaseSettings
from sinks.database.comments import set_comments
from sinks.database.event_columns import RESULTS, result_statements
from sinks.database.rollups import Rollup, rollups
from sinks.database.schema import TimeTable, kind_statements, time_tables
from sinks.database.timescale import (
    Timescale,
    check_retention,
    continuous_aggregate,
    fill,
    fill_from,
    hypertable,
    policies,
    refresh_policy,
)
from sinks.database.views import view_statements

__all__ = ["Migration", "fill_new_rollups", "latest_version", "migrate", "migrations"]

log = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]

_JOURNAL = """CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now())"""
# Generated DDL is run again only when its text has changed: even statements that would do
# nothing take locks that a running sink would wait for.
_GENERATED = """CREATE TABLE IF NOT EXISTS schema_generated (
    name text PRIMARY KEY, checksum text NOT NULL, continuous boolean NOT NULL DEFAULT false)"""


@dataclass(frozen=True)
class Migration:
    """One file of ``migrations/``: its number, name and text."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return the numbered migrations in order."""
    files = sorted(
        (
            f
            for f in resources.files("sinks.database.migrations").iterdir()
            if f.name.endswith(".sql")
        ),
        key=lambda f: f.name,
    )
    return [
        Migration(int(f.name.split("_")[0]), f.name.removesuffix(".sql"), f.read_text("utf-8"))
        for f in files
    ]


def latest_version() -> int:
    return migrations()[-1].version


def migrate(
    connection: Connection,
    database: DatabaseSettings,
    timescale: Timescale | None,
    window_s: int,
) -> list[str]:
    """Apply what is missing inside the caller's transaction; return the names of what was new.

    ``window_s``: size of the windows whose results are stored.

    Raise ConfigurationError when an applied migration's text has changed since, or rows are to
    be kept for too short a time.
    """
    check_retention(database, timescale)
    connection.execute(_JOURNAL)
    connection.execute(_GENERATED)
    done: dict[int, str] = dict(
        connection.execute("SELECT version, checksum FROM schema_migrations").fetchall()
    )
    applied = []
    for migration in migrations():
        if migration.version in done:
            _check_unchanged(migration, done[migration.version])
            continue
        connection.execute(migration.text.encode())
        connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
            (migration.version, migration.name, migration.checksum),
        )
        applied.append(migration.name)
    generated = _Generated(connection)
    for kind in KINDS.values():
        generated.bring_up(f"kind {kind.name}", kind_statements(kind))
    for results in RESULTS:
        generated.bring_up(f"columns {results}", result_statements(results))
    for table in time_tables(database):
        connection.execute(
            "INSERT INTO retention VALUES (%s, %s, %s, %s) ON CONFLICT (table_name) "
            "DO UPDATE SET time_column = excluded.time_column, keep_days = excluded.keep_days, "
            "schema_name = excluded.schema_name",
            (table.name, table.time_column, table.keep_days, table.schema),
        )
        generated.bring_up(f"growth {table.name}", _growth(table, timescale))
    for group, statements in view_statements(window_s).items():
        generated.bring_up(f"views {group}", statements)
    for rollup in rollups():
        if timescale and timescale.full:
            _bring_up_continuous(generated, rollup)
        else:
            _bring_up_view(generated, rollup)
    comments = ["comments"] if set_comments(connection) else []
    return applied + generated.new + comments


def _check_unchanged(migration: Migration, checksum: str) -> None:
    if checksum != migration.checksum:
        raise ConfigurationError(
            f"migration {migration.name} was applied with another text (checksum {checksum[:12]}, "
            f"this version has {migration.checksum[:12]}); an applied migration is never edited: "
            "install the version that made this database, or use an empty database"
        )


def _checksum_of(statements: list[str]) -> str:
    return hashlib.sha256("\n".join(statements).encode()).hexdigest()


class _Generated:
    """The journal of generated DDL: name -> checksum of the statements last run."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        rows = connection.execute("SELECT name, checksum, continuous FROM schema_generated")
        self.known: dict[str, tuple[str, bool]] = {name: (c, t) for name, c, t in rows.fetchall()}
        self.new: list[str] = []

    def bring_up(self, name: str, statements: list[str], *, continuous: bool = False) -> bool:
        """Run the statements if they differ from those last run; return whether they did."""
        checksum = _checksum_of(statements)
        if self.known.get(name) == (checksum, continuous):
            return False
        for statement in statements:
            self._connection.execute(statement.encode())
        self._connection.execute(
            "INSERT INTO schema_generated VALUES (%s, %s, %s) ON CONFLICT (name) DO UPDATE "
            "SET checksum = excluded.checksum, continuous = excluded.continuous",
            (name, checksum, continuous),
        )
        self.new.append(name)
        return True

    def forget(self, name: str) -> None:
        self._connection.execute("DELETE FROM schema_generated WHERE name = %s", (name,))
        self.known.pop(name, None)


def _growth(table: TimeTable, timescale: Timescale | None) -> list[str]:
    if not table.hypertable:
        return []
    if timescale:
        return [*hypertable(table), *policies(table, timescale)]
    # Rows come roughly in order of time: a BRIN index finds the old ones for retention and costs
    # next to nothing per row.
    index = f"{table.name}_brin ON {table.name} USING brin ({table.time_column})"
    return [f"CREATE INDEX IF NOT EXISTS {index}"]


def _bring_up_view(generated: _Generated, rollup: Rollup) -> None:
    statements = [
        f"DROP VIEW IF EXISTS {rollup.name}",
        f"CREATE VIEW {rollup.name} AS {rollup.select(continuous=False)}",
    ]
    if not _keeps_its_history(generated, rollup, statements):
        generated.bring_up(f"rollup {rollup.name}", statements)


def _bring_up_continuous(generated: _Generated, rollup: Rollup) -> None:
    statements = [
        f"DROP VIEW IF EXISTS {rollup.name}",
        *continuous_aggregate(rollup, rollup.select(continuous=True)),
    ]
    refresh, filled = f"refresh {rollup.name}", f"filled {rollup.name}"
    if not _keeps_its_history(generated, rollup, statements) and generated.bring_up(
        f"rollup {rollup.name}", statements, continuous=True
    ):
        generated.forget(refresh)  # its policy went with the one before
        generated.forget(filled)
    generated.bring_up(refresh, refresh_policy(rollup))


def _keeps_its_history(generated: _Generated, rollup: Rollup, statements: list[str]) -> bool:
    """Return whether a continuous aggregate is in the way of a new definition; say the remedy."""
    name = f"rollup {rollup.name}"
    checksum, was_continuous = generated.known.get(name, ("", False))
    if not was_continuous or checksum == _checksum_of(statements):
        return False
    log.warning(
        "roll-up %s has changed but holds history that may be gone from the readings, so it "
        "stays as it is. To rebuild it: DROP MATERIALIZED VIEW %s; "
        "DELETE FROM schema_generated WHERE name = '%s'; then civicstream init",
        rollup.name,
        rollup.name,
        name,
    )
    return True


def fill_new_rollups(connection: Connection) -> None:
    """Compute new continuous aggregates from the rows that were there before them.

    ``connection`` is the owner's and in autocommit: TimescaleDB commits between its steps. What
    is done is noted one by one, so after a failure the next `init` goes on with the rest.
    """
    rows = connection.execute("SELECT name FROM schema_generated WHERE continuous").fetchall()
    done = connection.execute(
        "SELECT name FROM schema_generated WHERE name LIKE 'filled %'"
    ).fetchall()
    for rollup in rollups():
        filled = f"filled {rollup.name}"
        if (f"rollup {rollup.name}",) in rows and (filled,) not in done:
            start = connection.execute(fill_from(rollup).encode()).fetchone()
            if start:
                connection.execute(fill(rollup, start[0]).encode())
            connection.execute("INSERT INTO schema_generated VALUES (%s, '')", (filled,))
