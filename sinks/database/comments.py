"""The meaning of every table, view and column, and how it gets into the database as a comment.

Fields of events and measures of kinds say it themselves, ``meanings.toml`` the rest; docs/tables.md
is made of the same.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import msgspec
from psycopg import sql

from civicstream.events import (
    DeadLetter,
    EnvironmentResult,
    EnvironmentRow,
    ForecastRow,
    TrafficForecast,
    TrafficResult,
    TrafficRow,
)
from civicstream.kinds import KINDS, Kind
from civicstream.meanings import SHARED, field_meanings
from civicstream.postgres import Connection
from sinks.database.rollups import Rollup, rollups
from sinks.event_tables import HISTORIES, NEWEST

__all__ = ["Column", "Group", "Relation", "groups", "relations_in", "set_comments"]

_EVENTS: dict[str, tuple[type[msgspec.Struct], ...]] = {
    "results_traffic": (TrafficResult, TrafficRow),
    "results_environment": (EnvironmentResult, EnvironmentRow),
    "forecasts": (TrafficForecast, ForecastRow),
    "dead_letters": (DeadLetter,),
    # Of several events in one table the first, which is the general one.
    **{table.name: (event,) for event, table in reversed(HISTORIES.items())},
    **{table.name: (event,) for event, table in NEWEST.items()},
}
"""Table -> the events whose fields are its columns; of two with one field the latter."""

_KINDS_OF_RELATION = {"r": "TABLE", "p": "TABLE", "v": "VIEW", "m": "MATERIALIZED VIEW"}


@dataclass(frozen=True)
class Group:
    """Tables that belong together: name -> (meaning, column -> meaning)."""

    title: str
    says: str
    tables: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)


def groups() -> list[Group]:
    """Return what all tables and views mean, in the order of docs/tables.md.

    A table of another schema than the others has it before its name. Columns may be among them
    that this database does not have.
    """
    declared = tomllib.loads(
        resources.files("sinks.database").joinpath("meanings.toml").read_text("utf-8")
    )
    begun = declared.pop("group")
    made: list[Group] = []
    columns: dict[str, dict[str, str]] = {}
    for name, entry in declared.items():
        if name in begun:
            made.append(Group(begun[name]["title"], begun[name].get("says", "")))
        own = entry.get("columns", {})
        match name:
            case "readings":
                tables = _of_kinds(own)
            case "rollups":
                tables = {
                    rollup.name: (_rollup(rollup), _rollup_columns(rollup, columns, own))
                    for rollup in rollups()
                }
            case _:
                tables = {name: (entry["meaning"], _columns(name, entry, columns))}
        made[-1].tables.update(tables)
        columns |= {table: of for table, (_, of) in tables.items()}
    return made


def _columns(name: str, entry: dict[str, Any], known: dict[str, dict[str, str]]) -> dict[str, str]:
    found: dict[str, str] = dict(SHARED)
    for event in _EVENTS.get(name, ()):
        found |= field_meanings(event)
    for source in reversed(entry.get("of", [])):
        found |= known[source]
    own: dict[str, str] = entry.get("columns", {})
    return found | own


def _of_kinds(own: dict[str, str]) -> dict[str, tuple[str, dict[str, str]]]:
    made = {}
    for kind in KINDS.values():
        columns = SHARED | own | {m.column: f"{m.name} [{m.unit}]." for m in kind.measures}
        made[f"readings_{kind.name}"] = (f"Every reading of kind {kind.name}.", columns)
        made[f"latest_{kind.name}"] = ("The newest of each sensor, never set back.", columns)
    return made


def _rollup(rollup: Rollup) -> str:
    return f"Roll-up of {rollup.source} by {rollup.span.width}."


def _rollup_columns(
    rollup: Rollup, known: dict[str, dict[str, str]], own: dict[str, str]
) -> dict[str, str]:
    source = known[rollup.source]
    largest = {
        f"largest_{name}": f"Of the windows the largest: {text[0].lower()}{text[1:]}"
        for name, text in source.items()
    }
    return source | largest | _statistics(KINDS.get(rollup.source.removeprefix("readings_"))) | own


def _statistics(kind: Kind | None) -> dict[str, str]:
    """Return the columns that a roll-up of readings has for each measure."""
    return {
        f"{measure.column}_{short}": f"{words} {measure.name} [{measure.unit}]."
        for measure in (kind.measures if kind else ())
        for short, words in (("mean", "Mean"), ("min", "Smallest"), ("max", "Largest"))
    }


@dataclass(frozen=True)
class Column:
    """A column as the database has it; ``meaning`` is its comment."""

    name: str
    type: str
    nullable: bool
    meaning: str | None


@dataclass(frozen=True)
class Relation:
    """A table or view as the database has it; ``kind`` as SQL calls it."""

    kind: str
    meaning: str | None
    columns: list[Column]


_RELATIONS = """
    SELECT CASE n.nspname WHEN current_schema THEN '' ELSE n.nspname || '.' END || c.relname,
        c.relkind::text, obj_description(c.oid, 'pg_class'), a.attname,
        format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, col_description(c.oid, a.attnum)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname IN (current_schema, 'access', 'private') AND c.relkind IN ('r', 'p', 'v', 'm')
        AND c.relname !~ '_(moving|changed)$'
    ORDER BY c.oid, a.attnum"""  # the two are of a table that becomes a hypertable


def relations_in(connection: Connection) -> dict[str, Relation]:
    """Return the tables and views that are there, named as in ``groups``."""
    found: dict[str, Relation] = {}
    for name, kind, meaning, *column in connection.execute(_RELATIONS).fetchall():
        relation = found.setdefault(name, Relation(_KINDS_OF_RELATION[kind], meaning, []))
        relation.columns.append(Column(*column))
    return found


def set_comments(connection: Connection) -> bool:
    """Comment on what is there, in the caller's transaction; return whether anything was new.

    Held against the database, not against what was done before: a view that is made again has
    lost its comments.
    """
    there = relations_in(connection)
    statements: list[sql.Composed] = []
    for name, (meaning, columns) in ((n, t) for g in groups() for n, t in g.tables.items()):
        if name not in there:
            continue
        relation = there[name]
        table = sql.Identifier(*name.split("."))
        if relation.meaning != meaning:
            on = sql.SQL(relation.kind)
            statements.append(
                sql.SQL("COMMENT ON {} {} IS {}").format(on, table, sql.Literal(meaning))
            )
        statements += [
            sql.SQL("COMMENT ON COLUMN {} IS {}").format(
                sql.Identifier(*name.split("."), column.name), sql.Literal(columns[column.name])
            )
            for column in relation.columns
            if column.name in columns and column.meaning != columns[column.name]
        ]
    if statements:
        connection.execute(sql.SQL("; ").join(statements))
    return bool(statements)
