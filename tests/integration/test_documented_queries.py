"""The SQL in the documents runs, as the role that it is meant for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from civicstream.postgres import connect
from sinks.admin.init import init_database
from tests.kit.sink_rows import as_role, settings_for

ROOT = Path(__file__).parents[2]
PAGES = ("docs/operations.md", "sinks/README.md")


def queries(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    return [query.strip() for block in blocks for query in block.split(";") if query.strip()]


@pytest.mark.parametrize("page", PAGES)
def test_every_documented_query_runs_as_the_reader(database: str, page: str) -> None:
    init_database(settings_for(database))
    found = queries(page)
    assert found
    with connect(as_role(database, "civicstream_reader"), "test") as connection:
        for query in found:
            connection.execute(query.encode())


def test_every_documented_table_and_view_exists(database: str) -> None:
    init_database(settings_for(database))
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.split("## Looking into the database")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = set(re.findall(r"`([a-z_0-9]+)`", "\n".join(cells)))
    names = {name for name in names if not name.startswith("_")}
    assert len(names) > 15
    with connect(as_role(database, "civicstream_reader"), "test") as connection:
        for name in sorted(names):
            connection.execute(f"SELECT * FROM {name} LIMIT 1".encode())
