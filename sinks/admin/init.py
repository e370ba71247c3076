"""`civicstream init`: roles, schema, privileges, reference tables, Kafka topics.

Safe to run again and from several processes at once: they queue on an advisory lock.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import errors, sql

from civicstream.clock import REAL, Clock
from civicstream.errors import ConfigurationError
from civicstream.geojson import read_city
from civicstream.kafka.clients import wait_for_kafka
from civicstream.kafka.rights import grant_rights
from civicstream.kafka.topic_admin import create_topics
from civicstream.postgres import connect, wait_for_database
from civicstream.settings import Settings
from sinks.database.locks import with_brief_locks
from sinks.database.migrate import fill_new_rollups, migrate
from sinks.database.moving import move_to_hypertable, plain_and_filled
from sinks.database.reference import load_city
from sinks.database.roles import OWNER, ensure_roles, grant_privileges, grant_schema
from sinks.database.schema import time_tables
from sinks.database.timescale import Timescale

__all__ = ["Initialised", "init_database", "run"]

log = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]

_LOCK = 0x0C171C57
"""Advisory lock of `init`; any number that no other program in the database uses."""


@dataclass(frozen=True)
class Initialised:
    """What `init` found and did."""

    applied: list[str]
    timescale: Timescale | None
    topics: list[str]
    sensors: int
    accounts: list[str]

    def summary(self) -> str:
        """Return one sentence per part for a person."""
        if self.timescale:
            version = ".".join(map(str, self.timescale.version))
            engine = f"TimescaleDB {version} ({self.timescale.license} licence)"
        else:
            engine = "plain PostgreSQL"
        return (
            f"database: {engine}, {len(self.applied) or 'no'} changes to the schema, "
            f"{self.sensors:,} sensors loaded\nkafka: {len(self.topics) or 'no'} topics created"
            + (f", rights of {', '.join(self.accounts)} set" if self.accounts else "")
        )


def run(settings: Settings, *, wait_s: float = 60, kafka_acls: bool = False) -> Initialised:
    """Initialise the database, then Kafka's topics; wait this long for a server that is starting.

    ``kafka_acls``: also give each part its own account on Kafka, with its rights and no more.

    Raise ConfigurationError naming the right, file or setting that is wrong, ServerUnavailable
    when a server does not answer in time.
    """
    applied, timescale, sensors = init_database(settings, wait_s=wait_s)
    wait_for_kafka(settings.kafka, timeout_s=wait_s)
    topics = create_topics(settings.kafka)
    accounts = grant_rights(settings) if kafka_acls else []
    return Initialised(applied, timescale, topics, sensors, accounts)


def init_database(
    settings: Settings, *, wait_s: float = 60
) -> tuple[list[str], Timescale | None, int]:
    """Bring the database up; return what was applied, TimescaleDB if there, sensors loaded.

    Sinks go on writing meanwhile. Raise ServerUnavailable when a table is not free in ``wait_s``.
    """
    city = read_city(settings.city.file) if settings.city.file else None
    url = settings.database.owner_url or settings.database.url
    wait_for_database(url, timeout_s=wait_s)
    with connect(url, "civicstream-init") as connection:
        connection.autocommit = True
        # Session lock: it ends with the connection, whatever happens to this process.
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        schema = _current_schema(connection)
        timescale = _timescale(connection)
        clock = settings.clock.clock()
        if timescale and clock != REAL:
            # Its own jobs know the machine's clock only: retention and roll-ups go without them.
            timescale = replace(timescale, license="apache")
        ensure_roles(connection, settings.database, timescale)
        grant_schema(connection, schema)
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
        connection.execute(sql.SQL("SET search_path = {}, pg_temp").format(sql.Identifier(schema)))

        def bring_up() -> tuple[list[str], int]:
            applied = migrate(connection, settings.database, timescale, settings.windows.size_s)
            grant_privileges(connection)
            _declare_clock(connection, clock)
            return applied, load_city(connection, city) if city else 0

        try:
            if timescale:
                for table in plain_and_filled(connection, time_tables(settings.database)):
                    move_to_hypertable(connection, table, wait_s)
            applied, sensors = with_brief_locks(connection, bring_up, "the schema", wait_s)
            if timescale and timescale.full:
                fill_new_rollups(connection)
        except errors.InsufficientPrivilege as error:
            raise ConfigurationError(
                f"role {OWNER} may not bring up the schema ({error.diag.message_primary}); "
                f"what is there must belong to it: REASSIGN OWNED BY <its owner> TO {OWNER}"
            ) from error
    return applied, timescale, sensors


def _declare_clock(connection: Connection, clock: Clock) -> None:
    """Let ``city_now()`` go by ``clock``."""
    connection.execute("DELETE FROM city_clock")
    if clock != REAL:
        connection.execute(
            "INSERT INTO city_clock (wall, city, speed) "
            "VALUES (to_timestamp(%s / 1000.0), to_timestamp(%s / 1000.0), %s)",
            (clock.wall_ms, clock.city_ms, clock.speed),
        )


def _current_schema(connection: Connection) -> str:
    row = connection.execute("SELECT current_schema").fetchone()
    if not row or row[0] is None:
        raise ConfigurationError(
            f"database {connection.info.dbname!r} has no schema on the search path of role "
            f"{connection.info.user!r}; create it, or name one that exists in search_path"
        )
    return str(row[0])


def _timescale(connection: Connection) -> Timescale | None:
    """Return TimescaleDB as installed in this database, installing it where it is available."""
    available = connection.execute(
        "SELECT installed_version FROM pg_available_extensions WHERE name = 'timescaledb'"
    ).fetchone()
    if available is None:
        log.info("TimescaleDB is not on this server: plain tables, views and DELETE instead")
        return None
    if available[0] is None and not _install_timescale(connection):
        return None
    row = connection.execute(
        "SELECT extversion, current_setting('timescaledb.license') FROM pg_extension "
        "WHERE extname = 'timescaledb'"
    ).fetchone()
    assert row is not None  # noqa: S101 it was installed just now
    version = tuple(int(part) for part in row[0].split("-")[0].split("."))
    return Timescale(version, "timescale" if row[1] == "timescale" else "apache")


def _install_timescale(connection: Connection) -> bool:
    preloaded = connection.execute(
        "SELECT 1 FROM pg_settings WHERE name LIKE 'timescaledb.%'"
    ).fetchone()
    if not preloaded:
        log.warning(
            "TimescaleDB is on this server but not preloaded, so plain tables are used; "
            "set shared_preload_libraries = 'timescaledb', restart it, run init again"
        )
        return False
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"role {connection.info.user!r} may not install TimescaleDB "
            f"({error.diag.message_primary}); run CREATE EXTENSION timescaledb once as a "
            "superuser in this database"
        ) from error
    return True
