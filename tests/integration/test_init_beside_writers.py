"""`civicstream init` on a database in use: writers and readers wait only briefly for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from civicstream.errors import ServerUnavailable
from civicstream.postgres import connect
from sinks.admin.init import init_database
from sinks.database.rights import check_rights
from stack.servers.processes import wait_until
from tests.kit.sink_rows import as_role, loader, noise, settings_for

ROWS = 200_000
DAYS = 20
_PLAIN = "SELECT count(*) FROM timescaledb_information.hypertables"


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def plain(timescaledb: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database initialised before TimescaleDB was there, with rows of some weeks."""
    with monkeypatch.context() as without:
        without.setattr("sinks.admin.init._timescale", lambda _connection: None)
        init_database(settings_for(timescaledb, keep={}))
    with psycopg.connect(timescaledb, autocommit=True) as admin:
        admin.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        admin.execute(
            "INSERT INTO readings_noise (sensor_key, ts, l_aeq, ingested_at) "
            "SELECT n %% 1000, now() - make_interval(secs => n * %s), 50, now() "
            "FROM generate_series(1, %s) n",
            (DAYS * 86_400 / ROWS, ROWS),
        )
    assert ask(timescaledb, _PLAIN) == [(0,)]
    return timescaledb


class Writer(threading.Thread):
    """Inserts and corrects readings as the sink's role, a transaction each, until it is left."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = as_role(url, "civicstream_writer")
        self._stop_event = threading.Event()
        self.written = 0
        self.longest_s = 0.0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with connect(self._url, "writer") as connection:
                connection.autocommit = True
                while not self._stop_event.is_set():
                    self._write(connection)
        except Exception as error:
            self.error = error

    def _write(self, connection: Any) -> None:
        began = time.monotonic()
        with connection.transaction():
            for key in (self.written + 1_000_000, self.written // 2 + 1_000_000):
                connection.execute(
                    "INSERT INTO readings_noise AS r (sensor_key, ts, l_aeq, ingested_at) "
                    "VALUES (%s, date_trunc('day', now()), %s, now()) "
                    "ON CONFLICT (sensor_key, ts) DO UPDATE SET l_aeq = excluded.l_aeq",
                    (key, self.written),
                )
        self.written += 1
        self.longest_s = max(self.longest_s, time.monotonic() - began)

    def stop(self) -> None:
        self._stop_event.set()
        self.join(60)


@contextmanager
def writing(url: str) -> Iterator[Writer]:
    writer = Writer(url)
    writer.start()
    try:
        wait_until(lambda: writer.written > 10 or writer.error is not None, "writer", timeout_s=30)
        yield writer
    finally:
        writer.stop()


@pytest.mark.timeout(180)
def test_a_filled_table_becomes_a_hypertable_while_it_is_written_to(plain: str) -> None:
    settings = settings_for(plain, keep={})
    views = "SELECT count(*) FROM pg_views WHERE schemaname = 'public' AND viewname LIKE '%noise%'"
    before = ask(plain, views)
    with writing(plain) as writer:
        init_database(settings)
        at_the_end = writer.written
        wait_until(
            lambda: writer.written > at_the_end + 10 or writer.error is not None,
            "the writer to go on",
            timeout_s=60,
        )
    assert writer.error is None
    # It waits for the last rows and the new name, not for all rows to be copied.
    assert writer.longest_s < 10
    chunks = "SELECT count(*)::int FROM show_chunks('readings_noise')"
    assert ask(plain, chunks)[0][0] >= DAYS
    assert ask(plain, "SELECT count(*)::int FROM readings_noise WHERE sensor_key < 1000000") == [
        (ROWS,)
    ]
    own = "SELECT sensor_key - 1000000, l_aeq FROM readings_noise WHERE sensor_key >= 1000000"
    newest = {n: float(n) for n in range(writer.written)}
    newest |= {n // 2: float(n) for n in range(writer.written)}
    assert dict(ask(plain, own)) == newest
    assert ask(plain, views) == before != [(0,)]
    assert ask(plain, "SELECT count(*) FROM readings_noise_1d")[0][0] > 0
    left = "SELECT relname FROM pg_class WHERE relname ~ '_(moving|changed)$'"
    assert ask(plain, left) == []
    with connect(settings.database.url, "test") as connection:
        check_rights(connection)
    with loader(plain, keep={}) as loaded:  # the sink writes as before
        row = noise("north", [(1, int(time.time() * 1000), 51.0)])
        assert loaded.write(loaded.frame(row, ingested_at=1)).kinds["noise"].accepted == 1
    assert init_database(settings)[0] == []


@pytest.mark.timeout(180)
def test_a_long_reader_is_named_and_holds_up_init_but_not_the_writers(plain: str) -> None:
    with psycopg.connect(plain, application_name="a long report") as reader, writing(plain) as w:
        reader.execute("SELECT count(*) FROM readings_noise")
        with pytest.raises(ServerUnavailable, match=r"a long report.*run it again later"):
            init_database(settings_for(plain, keep={}), wait_s=5)
        assert w.error is None
        assert w.longest_s < 8
        reader.rollback()
        init_database(settings_for(plain, keep={}))
    assert w.error is None
    assert ask(plain, _PLAIN)[0][0] > 0
    assert ask(plain, "SELECT count(*)::int FROM readings_noise WHERE sensor_key < 1000000") == [
        (ROWS,)
    ]
