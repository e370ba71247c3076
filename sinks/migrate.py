"""Bring a database to the schema of this version: numbered migrations, then what the kinds need.

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
from sinks.rollups import Rollup, rollups
from sinks.schema import TimeTable, kind_statements, time_tables
from sinks.timescale import Timescale, continuous_aggregate, hypertable, policies

__all__ = ["Migration", "latest_version", "migrate", "migrations"]

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
        (f for f in resources.files("sinks.migrations").iterdir() if f.name.endswith(".sql")),
        key=lambda f: f.name,
    )
    return [
        Migration(int(f.name.split("_")[0]), f.name.removesuffix(".sql"), f.read_text("utf-8"))
        for f in files
    ]


def latest_version() -> int:
    return migrations()[-1].version


def migrate(
    connection: Connection, database: DatabaseSettings, timescale: Timescale | None
) -> list[str]:
    """Apply what is missing inside the caller's transaction; return the names of what was new.

    Raise ConfigurationError when an applied migration's text has changed since.
    """
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
    for table in time_tables(database):
        connection.execute(
            "INSERT INTO retention VALUES (%s, %s, %s) ON CONFLICT (table_name) "
            "DO UPDATE SET time_column = excluded.time_column, keep_days = excluded.keep_days",
            (table.name, table.time_column, table.keep_days),
        )
        generated.bring_up(f"growth {table.name}", _growth(table, timescale))
    for rollup in rollups():
        _bring_up_rollup(generated, rollup, timescale)
    return applied + generated.new


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

    def bring_up(self, name: str, statements: list[str], *, continuous: bool = False) -> None:
        checksum = _checksum_of(statements)
        if self.known.get(name) == (checksum, continuous):
            return
        for statement in statements:
            self._connection.execute(statement.encode())
        self._connection.execute(
            "INSERT INTO schema_generated VALUES (%s, %s, %s) ON CONFLICT (name) DO UPDATE "
            "SET checksum = excluded.checksum, continuous = excluded.continuous",
            (name, checksum, continuous),
        )
        self.new.append(name)


def _growth(table: TimeTable, timescale: Timescale | None) -> list[str]:
    if not table.hypertable:
        return []
    if timescale:
        return [*hypertable(table), *policies(table, timescale)]
    # Rows come roughly in order of time: a BRIN index finds the old ones for retention and costs
    # next to nothing per row.
    index = f"{table.name}_brin ON {table.name} USING brin ({table.time_column})"
    return [f"CREATE INDEX IF NOT EXISTS {index}"]


def _bring_up_rollup(generated: _Generated, rollup: Rollup, timescale: Timescale | None) -> None:
    name = f"rollup {rollup.name}"
    continuous = bool(timescale and timescale.full)
    statements = [f"DROP VIEW IF EXISTS {rollup.name}"]
    if continuous:
        statements += continuous_aggregate(rollup, rollup.select(continuous=True))
    else:
        statements.append(f"CREATE VIEW {rollup.name} AS {rollup.select(continuous=False)}")
    checksum, was_continuous = generated.known.get(name, ("", False))
    if was_continuous and checksum != _checksum_of(statements):
        log.warning(
            "roll-up %s has changed but holds history that may be gone from the readings, so it "
            "stays as it is. To rebuild it: DROP MATERIALIZED VIEW %s; "
            "DELETE FROM schema_generated WHERE name = '%s'; then civicstream init",
            *(rollup.name, rollup.name, name),
        )
        return
    generated.bring_up(name, statements, continuous=continuous)
