"""Every table, view and column says in the database, and in docs/tables.md, what it means."""

from __future__ import annotations

import time

import psycopg
import pytest
from pydantic import SecretStr

from civicstream.postgres import connect
from sinks.admin.init import init_database
from sinks.database.comments import Relation, groups, relations_in, set_comments
from tests.kit.sink_rows import settings_for
from tests.kit.table_page import PAGE, brought_up, page


def without_meaning(there: dict[str, Relation]) -> list[str]:
    return [
        *(name for name, relation in there.items() if not relation.meaning),
        *(f"{name}.{c.name}" for name, r in there.items() for c in r.columns if not c.meaning),
    ]


def test_every_table_view_and_column_has_a_comment(database: str) -> None:
    there = brought_up(database)
    assert without_meaning(there) == []
    assert {name for group in groups() for name in group.tables} == set(there)


def test_the_page_of_tables_is_that_of_this_schema(postgres: str) -> None:
    made = page(brought_up(postgres))
    assert PAGE.read_text("utf-8") == made, "write it: python -m tests.kit.table_page"


def test_a_view_that_was_made_again_gets_its_comments_back(postgres: str) -> None:
    init_database(settings_for(postgres))
    with psycopg.connect(postgres) as connection:
        connection.execute("DROP VIEW cases_current")
        connection.execute("CREATE VIEW cases_current AS SELECT * FROM cases")
        connection.execute("ALTER VIEW cases_current OWNER TO civicstream_owner")
    assert init_database(settings_for(postgres))[0] == ["comments"]
    assert init_database(settings_for(postgres))[0] == []
    with connect(SecretStr(postgres), "test") as connection:
        assert without_meaning(relations_in(connection)) == []


@pytest.mark.parametrize("before", ["none", "all"])
def test_comments_are_set_in_a_moment(postgres: str, before: str) -> None:
    init_database(settings_for(postgres))
    with connect(SecretStr(postgres), "test") as connection:
        if before == "none":
            connection.execute("DELETE FROM pg_description WHERE classoid = 'pg_class'::regclass")
        start = time.monotonic()
        assert set_comments(connection) == (before == "none")
        assert time.monotonic() - start < 5  # measured: 0.1 s
