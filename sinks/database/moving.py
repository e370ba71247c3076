"""Filled plain tables become hypertables while they are written to.

``create_hypertable(migrate_data)`` would lock the table for as long as moving takes. Instead the
rows are copied into a new hypertable in slices of time, a transaction each, while a trigger notes
the keys of what is written meanwhile; these are copied again; and only for the last of them, and to
put the new table in the place of the old one, the table is locked. Views are made again, since they
hold on to the table that they were made on.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from civicstream.postgres import Connection
from sinks.database.locks import with_brief_locks
from sinks.database.schema import TimeTable
from sinks.database.timescale import create_hypertable

__all__ = ["move_to_hypertable", "plain_and_filled"]

log = logging.getLogger(__name__)

_FEW_KEYS = 20_000
"""So many changed rows are copied while the table is locked: in well under a second."""


def plain_and_filled(connection: Connection, tables: list[TimeTable]) -> list[TimeTable]:
    """Return those of the tables that should be hypertables, have rows and are not."""
    found = []
    for table in tables:
        row = connection.execute(
            "SELECT to_regclass(%s) IS NOT NULL AND NOT EXISTS (SELECT FROM "
            "timescaledb_information.hypertables WHERE hypertable_schema = current_schema "
            "AND hypertable_name = %s)",
            (table.name, table.name),
        ).fetchone()
        if table.hypertable and row and row[0] and _first(connection, table, None) is not None:
            found.append(table)
    return found


def move_to_hypertable(connection: Connection, table: TimeTable, timeout_s: float) -> int:
    """Move the table's rows; return how many were copied.

    ``connection`` is the owner's, in autocommit. What an earlier attempt left is removed first.
    Raise ServerUnavailable when the table is not free for a moment within ``timeout_s``.
    """
    what = f"making {table.name} a hypertable"
    with_brief_locks(connection, lambda: _prepare(connection, table), what, timeout_s)
    copied, start = 0, _first(connection, table, None)
    while start is not None:
        end = start + timedelta(days=table.chunk_days)
        copied += connection.execute(
            f"INSERT INTO {table.name}_moving SELECT * FROM {table.name} WHERE "  # noqa: S608 declared names
            f"{table.time_column} >= %s AND {table.time_column} < %s "
            "ON CONFLICT DO NOTHING".encode(),
            (start, end),
        ).rowcount
        log.info("%s: %d rows copied, up to %s", what, copied, end)
        start = _first(connection, table, end)
    while (again := _catch_up(connection, table)) > _FEW_KEYS:
        log.info("%s: %d rows written meanwhile copied", what, again)
    with_brief_locks(connection, lambda: _swap(connection, table), what, timeout_s)
    return copied


def _first(connection: Connection, table: TimeTable, since: datetime | None) -> datetime | None:
    """Return the earliest time of a row, or of one at ``since`` or later."""
    condition = f" WHERE {table.time_column} >= %s" if since else ""
    row = connection.execute(
        f"SELECT min({table.time_column}) FROM {table.name}{condition}".encode(),  # noqa: S608
        (since,) if since else None,
    ).fetchone()
    return row[0] if row else None


def _prepare(connection: Connection, table: TimeTable) -> None:
    """Make the new table and note from now on what is written to the old one."""
    name, moving, changed = table.name, f"{table.name}_moving", f"{table.name}_changed"
    keys = ", ".join(_key(connection, name))
    statements = [
        f"DROP TRIGGER IF EXISTS note_inserted ON {name}",
        f"DROP TRIGGER IF EXISTS note_updated ON {name}",
        f"DROP FUNCTION IF EXISTS {name}_note()",
        f"DROP TABLE IF EXISTS {moving}",
        f"DROP TABLE IF EXISTS {changed}",
        f"CREATE TABLE {moving} (LIKE {name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        f"CREATE TABLE {changed} AS SELECT {keys} FROM {name} LIMIT 0",  # noqa: S608
        f"ALTER TABLE {moving} ADD UNIQUE ({keys})",
        *_other_indexes(connection, name, moving),
        *create_hypertable(table, moving),
        # With the owner's rights: who writes to the table knows nothing of this.
        (
            f"CREATE FUNCTION {name}_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "  # noqa: S608
            f"SET search_path FROM CURRENT AS $$ BEGIN INSERT INTO {changed} "
            f"SELECT {keys} FROM written; RETURN NULL; END $$"
        ),
        *(
            f"CREATE TRIGGER note_{done} AFTER {action} ON {name} REFERENCING NEW TABLE AS written "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {name}_note()"
            for action, done in (("INSERT", "inserted"), ("UPDATE", "updated"))
        ),
    ]
    for statement in statements:
        connection.execute(statement.encode())


def _key(connection: Connection, name: str) -> list[str]:
    """Return the columns of the table's unique constraint."""
    rows = connection.execute(
        "SELECT a.attname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid "
        "AND a.attnum = ANY (c.conkey) WHERE c.conrelid = %s::regclass AND c.contype IN ('u', 'p') "
        "ORDER BY array_position(c.conkey, a.attnum)",
        (name,),
    ).fetchall()
    return [column for (column,) in rows]


def _other_indexes(connection: Connection, name: str, moving: str) -> list[str]:
    """Return the statements for the indexes of no constraint, but those on time that stand in."""
    rows = connection.execute(
        "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_index i JOIN pg_class c "
        "ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam WHERE i.indrelid = %s::regclass "
        "AND m.amname <> 'brin' AND NOT EXISTS "
        "(SELECT FROM pg_constraint WHERE conindid = c.oid)",
        (name,),
    ).fetchall()
    return [
        f"CREATE INDEX {index}_moving ON {moving} USING {definition.split(' USING ', 1)[1]}"
        for index, definition in rows
    ]


def _catch_up(connection: Connection, table: TimeTable) -> int:
    """Copy the rows again that were written since; return how many."""
    name, keys = table.name, _key(connection, table.name)
    columns = connection.execute(f"SELECT * FROM {name} LIMIT 0".encode()).description or []  # noqa: S608
    changes = ", ".join(f"{c.name} = excluded.{c.name}" for c in columns if c.name not in keys)
    return connection.execute(
        f"WITH keys AS (DELETE FROM {name}_changed RETURNING *), "  # noqa: S608 declared names
        f"latest AS (SELECT DISTINCT {name}.* FROM {name} JOIN keys USING ({', '.join(keys)})) "
        f"INSERT INTO {name}_moving SELECT * FROM latest "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}".encode()
    ).rowcount


def _swap(connection: Connection, table: TimeTable) -> None:
    """Put the new table in the place of the old one, with its views and everybody's rights."""
    name = table.name
    connection.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE".encode())
    _catch_up(connection, table)
    views = _views_on(connection, name)
    rights = [
        right
        for relation in (name, *(view for view, _ in views))
        for right in _rights_on(connection, relation)
    ]
    indexes = connection.execute(
        "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema AND tablename = %s "
        "AND indexname LIKE '%%\\_moving'",
        (f"{name}_moving",),
    ).fetchall()
    statements = [
        *(f"DROP VIEW {view}" for view, _ in reversed(views)),
        f"DROP TABLE {name}",
        f"DROP TABLE {name}_changed",
        f"DROP FUNCTION {name}_note()",
        f"ALTER TABLE {name}_moving RENAME TO {name}",
        *(f"ALTER INDEX {i} RENAME TO {i.removesuffix('_moving')}" for (i,) in indexes),
        *(f"CREATE VIEW {view} AS {definition}" for view, definition in views),
        *rights,
    ]
    for statement in statements:
        connection.execute(statement.encode())


def _views_on(connection: Connection, name: str) -> list[tuple[str, str]]:
    """Return name and definition of every view on the table, each after those it is made of."""
    rows: list[tuple[Any, ...]] = connection.execute(
        "WITH RECURSIVE found (view, depth) AS ("
        "SELECT r.ev_class, 1 FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid "
        "WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = %s::regclass "
        "UNION SELECT r.ev_class, f.depth + 1 FROM found f JOIN pg_depend d ON d.refobjid = f.view "
        "JOIN pg_rewrite r ON r.oid = d.objid "
        "WHERE d.classid = 'pg_rewrite'::regclass AND r.ev_class <> f.view) "
        "SELECT view::regclass::text, pg_get_viewdef(view) FROM found GROUP BY view "
        "ORDER BY max(depth), 1",
        (name,),
    ).fetchall()
    return [(view, definition) for view, definition in rows]


def _rights_on(connection: Connection, relation: str) -> list[str]:
    """Return the statements that grant again what others than the owner may do."""
    rows = connection.execute(
        "SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' "
        "ELSE a.grantee::regrole::text END FROM pg_class c, aclexplode(c.relacl) a "
        "WHERE c.oid = %s::regclass AND a.grantee <> c.relowner",
        (relation,),
    ).fetchall()
    return [f"GRANT {privilege} ON {relation} TO {role}" for privilege, role in rows]
