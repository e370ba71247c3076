"""With TimescaleDB's own licence: continuous aggregates, compression and retention jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from civicstream.clock import now_ms
from civicstream.errors import ConfigurationError
from civicstream.events import Counts
from civicstream.settings import DatabaseSettings
from sinks.admin.init import init_database
from sinks.admin.maintenance import remove_old_rows
from sinks.database.rollups import rollups
from sinks.database.timescale import SHORTEST_RETENTION_DAYS, Timescale, check_retention
from tests.kit.sink_rows import Loader, as_role, loader, noise, settings_for

SENSORS = 5
MINUTE, DAY = 60_000, 86_400_000
EVERY = 20 * MINUTE
PER_DAY = DAY // EVERY

REFRESH = "policy_refresh_continuous_aggregate"
COMPRESS, RETAIN = "policy_compression", "policy_retention"

NOISE_ROLLUPS = [rollup for rollup in rollups() if rollup.source == "readings_noise"]


@dataclass
class Licensed:
    """A database whose jobs run when told and not before."""

    loaded: Loader
    admin: psycopg.Connection[tuple[Any, ...]]
    now: int

    def load(self, *ages: int, level: float = 50.0, ingested_later: int = 0) -> Counts:
        """Write ``PER_DAY`` readings of each sensor for each day of that age."""
        rows = [
            (sensor, self.now - age * DAY + i * EVERY, level + sensor + i % 7)
            for age in ages
            for i in range(PER_DAY)
            for sensor in range(SENSORS)
        ]
        frame = noise("a", rows)
        record = self.loaded.frame(frame, ingested_at=self.now + ingested_later)
        return self.loaded.write(record).kinds["noise"]

    def jobs(self) -> dict[tuple[str, str], int]:
        """Return (table or roll-up, procedure) -> job; versions differ in how they name these."""
        return {
            (table, procedure): job
            for table, procedure, job in self.rows(
                "SELECT coalesce(c.view_name, j.hypertable_name), j.proc_name, j.job_id "
                "FROM timescaledb_information.jobs AS j "
                "LEFT JOIN timescaledb_information.continuous_aggregates AS c ON "
                "j.hypertable_name IN (c.view_name, c.materialization_hypertable_name) "
                "WHERE j.job_id >= 1000"
            )
        }

    def run_jobs(self, wanted: str) -> None:
        """Run the jobs of the noise readings and their roll-ups; an error of theirs is raised."""
        chosen = [
            job
            for (table, procedure), job in self.jobs().items()
            if table.startswith("readings_noise") and procedure == wanted
        ]
        assert chosen
        for job in chosen:
            self.admin.execute(f"CALL run_job({job})".encode())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.admin.execute(query.encode()).fetchall()

    def compressed_chunks(self) -> int:
        query = (
            "SELECT count(*) FROM timescaledb_information.chunks "
            "WHERE hypertable_name = 'readings_noise' AND is_compressed"
        )
        return int(self.rows(query)[0][0])

    def assert_rollups_answer_like_their_select(self) -> None:
        for rollup in NOISE_ROLLUPS:
            columns = "sensor_key, bucket, readings, round(l_aeq_mean::numeric, 9), l_amax_max"
            kept = f"SELECT {columns} FROM {rollup.name}"
            fresh = f"SELECT {columns} FROM ({rollup.select(continuous=False)}) AS now"
            assert self.rows(f"SELECT count(*) FROM ({fresh}) AS x")[0][0]
            for one, other in ((kept, fresh), (fresh, kept)):
                query = f"SELECT count(*) FROM ({one} EXCEPT {other}) AS differs"
                assert (rollup.name, self.rows(query)) == (rollup.name, [(0,)])


@pytest.fixture
def licensed(timescaledb: str) -> Iterator[Licensed]:
    with psycopg.connect(timescaledb, autocommit=True) as admin:
        admin.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        row = admin.execute("SHOW timescaledb.license").fetchone()
        if row != ("timescale",):
            pytest.skip(f"this TimescaleDB has the licence {row and row[0]}, not timescale")
        # The sink must not depend on the server's limit.
        admin.execute(
            f"ALTER DATABASE {admin.info.dbname} "
            "SET timescaledb.max_tuples_decompressed_per_dml_transaction = 1".encode()
        )
        with loader(timescaledb, keep={}) as loaded:
            yield Licensed(loaded, admin, now_ms())


def test_every_rollup_is_a_continuous_aggregate_and_every_history_has_its_jobs(
    licensed: Licensed,
) -> None:
    made = licensed.rows(
        "SELECT view_name FROM timescaledb_information.continuous_aggregates "
        "WHERE NOT materialized_only ORDER BY 1"
    )
    assert [name for (name,) in made] == sorted(rollup.name for rollup in rollups())
    histories = {"late_readings", "forecasts"} | {rollup.source for rollup in rollups()}
    wanted = {(history, job) for history in histories for job in (COMPRESS, RETAIN)}
    assert set(licensed.jobs()) == wanted | {(rollup.name, REFRESH) for rollup in rollups()}


def test_rollups_lose_nothing_when_the_sink_was_away_for_days(licensed: Licensed) -> None:
    licensed.load(6, 5)
    licensed.run_jobs(REFRESH)
    licensed.assert_rollups_answer_like_their_select()
    licensed.load(4, 3, 2, 1)
    licensed.run_jobs(REFRESH)
    licensed.assert_rollups_answer_like_their_select()


def test_a_late_reading_of_days_ago_comes_into_the_rollups(licensed: Licensed) -> None:
    licensed.load(6, 5, 4, 3, 2, 1)
    licensed.run_jobs(REFRESH)
    late = noise("a", [(0, licensed.now - 4 * DAY + 7 * MINUTE, 99.0)])
    licensed.loaded.write(licensed.loaded.frame(late, ingested_at=licensed.now))
    licensed.run_jobs(REFRESH)
    licensed.assert_rollups_answer_like_their_select()


def test_a_rollup_made_anew_holds_all_that_was_there_before_it(licensed: Licensed) -> None:
    licensed.load(20, 12, 9, 2, 1)
    for rollup in NOISE_ROLLUPS:
        licensed.admin.execute(f"DROP MATERIALIZED VIEW {rollup.name}".encode())
        licensed.admin.execute(
            f"DELETE FROM schema_generated WHERE name = 'rollup {rollup.name}'".encode()
        )
    applied, _, _ = init_database(settings_for(licensed.loaded.url, keep={}))
    assert applied == [
        f"{part} {rollup.name}" for rollup in NOISE_ROLLUPS for part in ("rollup", "refresh")
    ]
    licensed.run_jobs(REFRESH)
    licensed.assert_rollups_answer_like_their_select()
    assert init_database(settings_for(licensed.loaded.url, keep={}))[0] == []


def test_rollups_keep_what_retention_has_taken_from_the_readings(licensed: Licensed) -> None:
    licensed.load(13, 12, 11)
    licensed.load(10, 9, 8, 7, 6)
    init_database(settings_for(licensed.loaded.url, keep={}))
    query = "SELECT * FROM readings_noise_1d ORDER BY bucket, sensor_key"
    licensed.run_jobs(REFRESH)
    licensed.admin.execute(
        "CALL refresh_continuous_aggregate('readings_noise_1d', NULL, now() - INTERVAL '1 day')"
    )
    before = licensed.rows(query)
    assert len({row[1] for row in before}) >= 7
    settings = settings_for(licensed.loaded.url, keep={})
    shorter = settings.database.model_copy(
        update={"readings_retention_days": SHORTEST_RETENTION_DAYS}
    )
    init_database(settings.model_copy(update={"database": shorter}))
    removed = remove_old_rows(as_role(licensed.loaded.url, "civicstream_writer"))
    assert {name: chunks > 2 for name, chunks, _ in removed or []}["readings_noise"]
    licensed.run_jobs(REFRESH)
    assert licensed.rows(query) == before


def test_the_retention_job_and_the_sink_agree(licensed: Licensed) -> None:
    licensed.load(40, 33, 29, 2)
    licensed.run_jobs(RETAIN)
    oldest = licensed.rows("SELECT min(ts) > now() - INTERVAL '31 days' FROM readings_noise")
    assert oldest == [(True,)]
    removed = remove_old_rows(as_role(licensed.loaded.url, "civicstream_writer"))
    assert [row for row in removed or [] if row[1] or row[2]] == []


def test_old_readings_are_merged_into_compressed_chunks(licensed: Licensed) -> None:
    per_load = 2 * PER_DAY * SENSORS
    assert licensed.load(12, 11).accepted == per_load
    assert licensed.load(2, 1).accepted == per_load
    licensed.run_jobs(COMPRESS)
    assert licensed.compressed_chunks() >= 2
    again = licensed.load(12, 11, level=20, ingested_later=5)
    assert (again.accepted, again.duplicate + again.corrected) == (0, per_load)
    levels = "SELECT min(l_aeq) FROM readings_noise WHERE ts < now() - INTERVAL '9 days'"
    assert licensed.rows(levels) == [(20.0,)]
    licensed.run_jobs(COMPRESS)
    older = licensed.load(12, 11, level=90, ingested_later=-5)
    assert (older.accepted, older.duplicate + older.corrected) == (0, per_load)
    assert licensed.rows(levels) == [(20.0,)]


def test_new_old_readings_go_into_compressed_chunks_once(licensed: Licensed) -> None:
    licensed.load(12, 11)
    licensed.run_jobs(COMPRESS)
    rows = [(SENSORS, licensed.now - 12 * DAY + i * MINUTE, 60.0) for i in range(300)]
    record = licensed.loaded.frame(noise("a", rows), ingested_at=licensed.now)
    assert licensed.loaded.write(record).kinds["noise"].accepted == 300
    licensed.run_jobs(COMPRESS)
    # The plain COPY meets rows that are there against expectation: written again by merge.
    licensed.admin.execute("DELETE FROM latest_noise")
    licensed.loaded.writer.forget()
    record = licensed.loaded.frame(noise("a", rows), ingested_at=licensed.now)
    counts = licensed.loaded.write(record).kinds["noise"]
    assert (counts.accepted, counts.duplicate, counts.rejected) == (0, 300, 0)


def test_retention_and_chunks_may_be_changed_where_chunks_are_compressed(
    licensed: Licensed,
) -> None:
    licensed.load(12, 11)
    licensed.run_jobs(COMPRESS)
    settings = settings_for(licensed.loaded.url, keep={})
    changed = {"readings_retention_days": 20, "chunk_days": 0.5}
    database = settings.database.model_copy(update=changed)
    applied, _, _ = init_database(settings.model_copy(update={"database": database}))
    assert "growth readings_noise" in applied
    licensed.load(1)
    licensed.run_jobs(COMPRESS)
    licensed.assert_rollups_answer_like_their_select()


@pytest.mark.parametrize("name", ["readings_retention_days", "results_retention_days"])
def test_a_retention_that_refreshes_would_reach_past_is_refused(name: str) -> None:
    url = SecretStr("")
    short = DatabaseSettings(url=url, **{name: SHORTEST_RETENTION_DAYS - 1})
    with pytest.raises(ConfigurationError, match=rf"{name.upper()} is 7; .* set it to 8 or more"):
        check_retention(short, Timescale((2, 22, 1), "timescale"))
    check_retention(short, Timescale((2, 22, 1), "apache"))
    check_retention(short, None)
    enough = DatabaseSettings(url=url, **{name: SHORTEST_RETENTION_DAYS})
    check_retention(enough, Timescale((2, 22, 1), "timescale"))


def test_init_refuses_a_short_retention_and_leaves_the_database_as_it_was(
    licensed: Licensed,
) -> None:
    settings = settings_for(licensed.loaded.url, keep={})
    short = settings.database.model_copy(update={"readings_retention_days": 5})
    with pytest.raises(ConfigurationError, match="READINGS_RETENTION_DAYS is 5"):
        init_database(settings.model_copy(update={"database": short}))
    kept = licensed.rows("SELECT DISTINCT keep_days FROM retention WHERE table_name ~ '^re'")
    assert sorted(kept) == [(30,), (730,)]
