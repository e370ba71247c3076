"""Least-privilege roles: owner of the tables, writer (the sink), reader (people, feeds), and the
one that may read citizens' sealed data and have them forgotten.

Roles belong to the whole cluster, so two `init` in two databases may meet here.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import psycopg
from psycopg import errors, sql
from pydantic import SecretStr

from civicstream.errors import ConfigurationError
from civicstream.settings import DatabaseSettings
from sinks.database.schema import writer_privileges
from sinks.database.timescale import Timescale

__all__ = [
    "OWNER",
    "PRIVATE",
    "READER",
    "WRITER",
    "ensure_roles",
    "grant_privileges",
    "grant_schema",
]

log = logging.getLogger(__name__)

OWNER, WRITER, READER = "civicstream_owner", "civicstream_writer", "civicstream_reader"
PRIVATE = "civicstream_private"

Connection = psycopg.Connection[tuple[Any, ...]]

_ATTEMPTS = 10


def ensure_roles(
    connection: Connection, database: DatabaseSettings, timescale: Timescale | None
) -> None:
    """Create the roles where they are missing and set the passwords given.

    ``connection`` is in autocommit. Raise ConfigurationError when its role may not do that.
    """
    user = connection.info.user
    try:
        for role in (OWNER, WRITER, READER, PRIVATE):
            _create_role(connection, role)
        # TimescaleDB runs a policy's job as the table's owner, which must be allowed to log in.
        # It has no password, so with password authentication nobody else can.
        if timescale and timescale.full:
            _retried(connection, sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(OWNER)))
        _set_password(connection, WRITER, database.writer_password)
        _set_password(connection, READER, database.reader_password)
        _set_password(connection, PRIVATE, database.private_password)
        if not _may_become_owner(connection):
            _retried(
                connection,
                sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(user)),
            )
    except errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"role {user!r} may not create or change the roles {OWNER}, {WRITER}, {READER} "
            f"and {PRIVATE} ({error.diag.message_primary}); give it the right with ALTER ROLE "
            f"{user} CREATEROLE, or set CIVICSTREAM_DATABASE__OWNER_URL to a role that has it"
        ) from error


def _create_role(connection: Connection, role: str) -> None:
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
        return
    try:
        connection.execute(
            sql.SQL("CREATE ROLE {} NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE").format(
                sql.Identifier(role)
            )
        )
    except (errors.DuplicateObject, errors.UniqueViolation):
        log.info("role %s was created by another process", role)


def _may_become_owner(connection: Connection) -> bool:
    # 'MEMBER' alone would do on PostgreSQL 15; from 16 on membership may come without SET.
    right = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    row = connection.execute("SELECT pg_has_role(%s, %s)", (OWNER, right)).fetchone()
    return bool(row and row[0])


def _set_password(connection: Connection, role: str, password: SecretStr | None) -> None:
    if password is None:
        return
    # Only the SCRAM verifier is sent, so that no server log ever holds the password.
    verifier = connection.pgconn.encrypt_password(
        password.get_secret_value().encode(), role.encode(), b"scram-sha-256"
    )
    _retried(
        connection,
        sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(role), sql.Literal(verifier.decode())
        ),
    )


def _retried(connection: Connection, statement: sql.Composed) -> None:
    """Execute; try again when another process changed the same row of the catalogue just now."""
    for attempt in range(_ATTEMPTS):
        try:
            connection.execute(statement)
        except errors.InternalError_:  # "tuple concurrently updated"
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.05 * (attempt + 1))
        else:
            return


def grant_schema(connection: Connection, schema: str) -> None:
    """Let the owner make tables in ``schema``, the others look into it; make the schemas apart.

    Raise ConfigurationError when the connected role may not grant that.
    """
    user, dbname = connection.info.user, connection.info.dbname
    names = {
        "schema": sql.Identifier(schema),
        "database": sql.Identifier(dbname),
        "owner": sql.Identifier(OWNER),
        "writer": sql.Identifier(WRITER),
        "reader": sql.Identifier(READER),
        "private": sql.Identifier(PRIVATE),
    }
    try:
        for statement in (
            "CREATE SCHEMA IF NOT EXISTS private AUTHORIZATION {owner}",
            "CREATE SCHEMA IF NOT EXISTS access AUTHORIZATION {owner}",
            "GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner}",
            "GRANT USAGE ON SCHEMA {schema} TO {writer}, {reader}",
            "GRANT CONNECT ON DATABASE {database} TO {owner}, {writer}, {reader}, {private}",
            # the sink stages rows that may already be there in temporary tables
            "GRANT TEMPORARY ON DATABASE {database} TO {writer}",
        ):
            connection.execute(sql.SQL(statement).format(**names))
    except errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"role {user!r} may not make schemas private and access in {dbname!r}, or not grant "
            f"rights on those and on schema {schema!r} "
            f"({error.diag.message_primary}); let it own the database with ALTER DATABASE "
            f"{dbname} OWNER TO {user}, or set CIVICSTREAM_DATABASE__OWNER_URL"
        ) from error
    row = connection.execute(
        "SELECT has_schema_privilege(%s, %s, 'CREATE')", (OWNER, schema)
    ).fetchone()
    if not (row and row[0]):  # GRANT without the right to is only a warning in PostgreSQL
        raise ConfigurationError(
            f"role {OWNER} has no right CREATE on schema {schema!r} and {user!r} may not grant "
            f"it; as the schema's owner: GRANT USAGE, CREATE ON SCHEMA {schema} TO {OWNER}"
        )


def grant_privileges(connection: Connection) -> None:
    """Give the writer what the sink needs and the reader SELECT; the session is the owner's."""
    writer, reader = sql.Identifier(WRITER), sql.Identifier(READER)
    for table, privileges in writer_privileges().items():
        connection.execute(
            sql.SQL("GRANT {} ON {} TO {}").format(
                sql.SQL(", ".join(privileges)), sql.Identifier(table), writer
            )
        )
    for function in ("apply_retention(text, integer, integer)", "forget_writers(text[], interval)"):
        connection.execute(
            sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(sql.SQL(function), writer)
        )
    relations = connection.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema::regnamespace "
        "AND c.relkind IN ('r', 'p', 'v', 'm') AND c.relowner = current_user::regrole"
    ).fetchall()
    connection.execute(
        sql.SQL("GRANT SELECT ON {} TO {}").format(
            sql.SQL(", ").join(sql.Identifier(name) for (name,) in relations), reader
        )
    )
    for statement in (
        "GRANT USAGE ON SCHEMA private TO {writer}, {private}",
        "GRANT EXECUTE ON FUNCTION private.store(text[], text[], bigint[], text[]) TO {writer}",
        # The sink too: it finds on Kafka who is to be forgotten.
        "GRANT EXECUTE ON FUNCTION private.forget(text, timestamptz, text) TO {writer}, {private}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA private TO {private}",
        # The feeds ask whose token has a hash; nobody but the owner sees the hashes.
        "GRANT USAGE ON SCHEMA access TO {reader}",
        "GRANT EXECUTE ON FUNCTION access.verify_token(bytea) TO {reader}",
        # Whoever notifies citizens of their cases.
        "GRANT EXECUTE ON FUNCTION private.case_states(text, integer) TO {private}",
        "GRANT EXECUTE ON FUNCTION private.people_of_case(text, integer) TO {private}",
    ):
        connection.execute(
            sql.SQL(statement).format(writer=writer, reader=reader, private=sql.Identifier(PRIVATE))
        )
