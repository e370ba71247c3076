"""Whether the connected role may do what the sink does, checked once before anything is read."""

from __future__ import annotations

from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS
from civicstream.postgres import Connection, translated
from sinks.database.migrate import latest_version
from sinks.database.schema import reading_columns, writer_privileges

__all__ = ["check_rights"]


def check_rights(connection: Connection) -> None:
    """Raise ConfigurationError that names the missing table, column or right and the remedy."""
    with translated(), connection.transaction():
        _check_privileges(connection)
        _check_columns(connection)
        row = connection.execute("SELECT max(version) FROM schema_migrations").fetchone()
    if not row or row[0] is None or row[0] < latest_version():
        raise ConfigurationError(
            f"the database is at schema {row[0] if row else None}, this version needs "
            f"{latest_version()}; run civicstream init"
        )


def _check_privileges(connection: Connection) -> None:
    wanted = [(t, p) for t, privileges in writer_privileges().items() for p in privileges]
    missing = connection.execute(
        "SELECT name, privilege FROM unnest(%s::text[], %s::text[]) AS wanted (name, privilege) "
        "WHERE NOT has_table_privilege(name, privilege) ORDER BY 1, 2",
        ([t for t, _ in wanted], [p for _, p in wanted]),
    ).fetchall()
    role, database = connection.info.user, connection.info.dbname
    if missing:
        named = ", ".join(f"{privilege} on {name}" for name, privilege in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ConfigurationError(
            f"role {role!r} lacks {named}{more} in database {database!r}; set "
            "CIVICSTREAM_DATABASE__URL to the role civicstream_writer, or GRANT "
            f"civicstream_writer TO {role}"
        )
    row = connection.execute(
        "SELECT has_database_privilege(current_database(), 'TEMP'), "
        "has_function_privilege('apply_retention(text, integer, integer)', 'EXECUTE') AND "
        "has_function_privilege('forget_writers(text[], interval)', 'EXECUTE'), "
        "has_schema_privilege('private', 'USAGE')"
    ).fetchone()
    if row != (True, True, True):
        raise ConfigurationError(
            f"role {role!r} lacks TEMPORARY on database {database!r}, EXECUTE on "
            "apply_retention and forget_writers or USAGE on schema private; GRANT "
            f"civicstream_writer TO {role}"
        )


def _check_columns(connection: Connection) -> None:
    found = set(
        connection.execute(
            "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
            "WHERE c.relnamespace = current_schema::regnamespace AND a.attnum > 0 "
            "AND NOT a.attisdropped AND c.relname = ANY(%s)",
            ([f"{table}_{kind}" for kind in KINDS for table in ("readings", "latest")],),
        ).fetchall()
    )
    missing = [
        f"{table}_{kind.name}.{column}"
        for kind in KINDS.values()
        for table in ("readings", "latest")
        for column in reading_columns(kind)
        if (f"{table}_{kind.name}", column) not in found
    ]
    if missing:
        raise ConfigurationError(
            f"the database lacks {', '.join(missing[:5])}; run civicstream init"
        )
