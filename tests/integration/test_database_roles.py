"""The writer and the reader may do their work and nothing else, tried with real statements."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from civicstream.errors import ConfigurationError
from civicstream.postgres import connect
from sinks.admin.init import init_database
from sinks.admin.maintenance import remove_old_rows
from sinks.database.rights import check_rights
from tests.kit.sink_rows import as_role, settings_for

WRITER_MAY_NOT = (
    "DELETE FROM readings_air",
    "TRUNCATE readings_air",
    "DROP TABLE readings_air",
    "ALTER TABLE readings_air ADD COLUMN x int",
    "CREATE TABLE mine (x int)",
    "UPDATE results_traffic SET readings = 0",
    "UPDATE dead_letters SET reason = ''",
    "UPDATE incidents SET state = 'cleared'",
    "UPDATE forecasts SET speed_kmh = 1",
    "DELETE FROM sensor_health",
    "DELETE FROM anomalies",
    "UPDATE citizen_reports SET reporter = 'x'",
    "UPDATE cases SET state = 'resolved'",
    "DELETE FROM units_current",
    "DELETE FROM private.sealed_records",
    "CREATE VIEW incidents_mine AS SELECT * FROM incidents",
    "DELETE FROM sink_offsets",
    "INSERT INTO areas VALUES ('x', 'x', '{}')",
    "UPDATE retention SET keep_days = 1",
    "UPDATE sensors SET lane = 1",
    "CREATE ROLE other",
    "SET ROLE civicstream_owner",
)
READER_MAY_NOT = (
    *WRITER_MAY_NOT,
    "INSERT INTO readings_air (sensor_key, ts, ingested_at) VALUES (1, now(), now())",
    "INSERT INTO sink_offsets VALUES ('t', 0, gen_random_uuid(), 0)",
    "SELECT * FROM apply_retention('units', 1, 1)",
    "UPDATE units_current SET state = 'off_duty'",
    "SELECT * FROM private.sealed_records",
)


@pytest.fixture
def initialised(database: str) -> str:
    init_database(settings_for(database))
    return database


@pytest.mark.parametrize(
    ("role", "statements"),
    [("civicstream_writer", WRITER_MAY_NOT), ("civicstream_reader", READER_MAY_NOT)],
)
def test_forbidden_statements_are_refused(
    initialised: str, role: str, statements: tuple[str, ...]
) -> None:
    with connect(as_role(initialised, role), "test") as connection:
        connection.autocommit = True
        for statement in statements:
            with pytest.raises(errors.InsufficientPrivilege):
                connection.execute(statement.encode())


def test_the_reader_sees_every_table_and_view(initialised: str) -> None:
    with psycopg.connect(initialised) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'v') AND relname NOT LIKE 'pg_%'"
        ).fetchall()
    assert len(names) > 50
    with connect(as_role(initialised, "civicstream_reader"), "test") as connection:
        for (name,) in names:
            connection.execute(f"SELECT * FROM {name} LIMIT 1".encode())


def test_the_writer_passes_the_sinks_own_check_and_may_run_retention(initialised: str) -> None:
    url = as_role(initialised, "civicstream_writer")
    with connect(url, "test") as connection:
        check_rights(connection)
    assert remove_old_rows(url)


def test_the_sink_names_the_right_that_is_missing(initialised: str) -> None:
    with psycopg.connect(initialised) as connection:
        connection.execute("REVOKE INSERT ON latest_air FROM civicstream_writer")
    with (
        connect(as_role(initialised, "civicstream_writer"), "test") as connection,
        pytest.raises(ConfigurationError, match=r"'civicstream_writer' lacks INSERT on latest_air"),
    ):
        check_rights(connection)


def test_a_database_that_was_never_initialised_is_named(database: str) -> None:
    with (
        psycopg.connect(database) as connection,
        pytest.raises(ConfigurationError, match="run civicstream init"),
    ):
        check_rights(connection)
