"""The embedded PostgreSQL: private, kept, and never two on one folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from civicstream.errors import ConfigurationError
from stack.servers.database import EmbeddedDatabase
from stack.servers.processes import free_port


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's folder: another run of pytest closes that to PostgreSQL's user at any moment.
    with tempfile.TemporaryDirectory(prefix="civicstream-") as name:
        yield Path(name)


def _database(folder: Path, port: int | None = None) -> EmbeddedDatabase:
    return EmbeddedDatabase(folder / "database", port or free_port(), folder / "database.log")


def test_rows_survive_a_stop_and_a_kill(folder: Path) -> None:
    database = _database(folder)
    child = database.launch()
    child.wait_ready(database.ready)
    with psycopg.connect(database.url()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    assert child.stop() == 0
    child = database.launch()
    child.wait_ready(database.ready)
    with psycopg.connect(database.url()) as connection:
        connection.execute("INSERT INTO kept VALUES (2)")
    child.kill()
    child = database.launch()
    child.wait_ready(database.ready)
    with psycopg.connect(database.url()) as connection:
        assert connection.execute("SELECT sum(n) FROM kept").fetchone() == (3,)
    child.stop()


def test_nobody_comes_in_without_the_password(folder: Path) -> None:
    database = _database(folder)
    child = database.launch()
    child.wait_ready(database.ready)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(database.url(password="guess"))
    assert (folder / "database.password").stat().st_mode & 0o077 == 0
    child.stop()


def test_an_interrupted_creation_is_done_over(folder: Path) -> None:
    (folder / "database").mkdir()
    (folder / "database" / "half").write_text("")
    database = _database(folder)
    child = database.launch()
    child.wait_ready(database.ready)
    child.stop()


def test_a_cluster_of_another_version_is_refused(folder: Path) -> None:
    (folder / "database").mkdir()
    (folder / "database" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigurationError, match=r"made by PostgreSQL 16, this is 18.*--fresh"):
        _database(folder).launch()
