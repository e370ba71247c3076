"""Rows past their time go, the others stay, and one process at a time sees to it."""

from __future__ import annotations

import psycopg
import pytest

from civicstream.clock import wall_ms
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import ClockSettings, KafkaSettings
from sinks.admin.init import init_database
from sinks.admin.maintenance import _LOCK, Maintenance, remove_old_rows
from stack.servers.processes import wait_until
from tests.kit.sink_process import ask
from tests.kit.sink_rows import as_role, hold_jobs, settings_for

INSERT = """
INSERT INTO readings_noise (sensor_key, ts, l_aeq, ingested_at)
    SELECT k, now() - make_interval(days => age), 50, now()
    FROM generate_series(1, 3) k, unnest(ARRAY[0, 10, 29, 33, 60]) age;
INSERT INTO results_traffic (area, segment, window_start, window_end, readings, vehicles,
        flow_veh_h, coverage, computed_at)
    SELECT 'a', 's', at, at + interval '1 minute', 1, 1, 1, 1, now()
    FROM (SELECT now() - make_interval(days => age) FROM unnest(ARRAY[1, 700, 760]) age) t (at);
INSERT INTO dead_letters (source, id, received_at, stage, reason, detail, count, topic, members,
        payload, payload_bytes)
    SELECT 's', age, now() - make_interval(days => age), 'sink', 'r', 'd', 1, 't', '[]', '', 0
    FROM unnest(ARRAY[1, 89, 91]) age;
INSERT INTO forecasts (area, segment, made_at, target, horizon_min, computed_at)
    SELECT 'a', 's', at, at, 15, at
    FROM (SELECT now() - make_interval(days => age) FROM unnest(ARRAY[0, 13, 16]) age) t (at);
INSERT INTO incidents
    SELECT 'i', age, 'confirmed', 'x', 'a', 'c', 's', 's', 's', 0, 0, 0, at, at, at, 0, 0, at, at
    FROM unnest(ARRAY[1, 729, 731]) age, LATERAL (SELECT now() - make_interval(days => age)) t (at);
INSERT INTO sensor_health
    SELECT 7, 'air', 'a', 's', 'stuck', 'r', at, 'ok', at, at
    FROM (SELECT now() - make_interval(days => age) FROM unnest(ARRAY[1, 731]) age) t (at);
INSERT INTO anomalies
    SELECT 'i', age, 'open', 'air', 'a', 7, 's', 'no2', 1, 1, 1, 1, 1, at, at, at, at
    FROM unnest(ARRAY[1, 731]) age, LATERAL (SELECT now() - make_interval(days => age)) t (at);
CREATE TEMPORARY TABLE aged AS
    SELECT age, now() - make_interval(days => age) AS at
    FROM unnest(ARRAY[1, 29, 33, 364, 366, 731]) age;
INSERT INTO citizen_reports
    SELECT age, 'a', 's', 0, 0, '', at, at, 'mqtt', 'p', '', '', '', '{}' FROM aged;
INSERT INTO cases
    SELECT 'c', age, 'received', 'a', 's', 'g', 1, 0, 0, '', 1, 1, 1, at, at, at, '', '', '', '',
        '[]', 'none', '' FROM aged;
INSERT INTO units SELECT 'u', 'a', 'available', '[]', 0, 0, at, 1, 0, at, '' FROM aged;
INSERT INTO allocations
    SELECT 'a', age, 'proposed', 'p', 't', 'u', 'a', 1, at, at, '[]', '', '[]', '', at, ''
    FROM aged;
INSERT INTO demand SELECT 'a', 's', at, 1, 1, 1, '[]', '[]', '[]', 1, 1 FROM aged;
INSERT INTO bin_forecasts SELECT age, 'a', 's', 0, 0, at, 0, 0, at, at, at, at FROM aged;
INSERT INTO parking_forecasts SELECT age, 'a', 's', at, 1, 1, 30, 1, 1, 1 FROM aged;
INSERT INTO tours
    SELECT 't', age, 'finished', 'u', 'a', at, at, at, '[]', 1, 1, 1, 1, 0, '' FROM aged;
INSERT INTO actions SELECT age, 'case/c', 'start', 'a', 'b', at, '', '' FROM aged;
INSERT INTO alerts
    SELECT 'l', age, 'active', 'updated', 'r', 'k', 'minor', 'a', 's', 'h', at, at, at, '', 1, 1,
        0, 0, at, at, '', at, '', 0, '', 0, '' FROM aged;
INSERT INTO frame_gaps SELECT 'g', age, 't', 0, 1, 1, at FROM aged;
INSERT INTO private.sealed_records SELECT age, 'p', at, 's' FROM aged;
"""

ALL_YEAR = {
    "citizen_reports": "received_at",
    "cases": "updated_at",
    "allocations": "decided_at",
    "actions": "at",
    "tours": "updated_at",
    "alerts": "updated_at",
}


@pytest.fixture
def filled(database: str) -> str:
    init_database(settings_for(database, keep={}))
    hold_jobs(database)
    with psycopg.connect(database) as connection:
        connection.execute(INSERT.encode())
    return database


def ages(url: str, table: str, column: str) -> list[int]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            f"SELECT DISTINCT round(extract(epoch FROM now() - {column}) / 86400)::int "
            f"FROM {table} ORDER BY 1".encode()
        ).fetchall()
    return [age for (age,) in rows]


def test_rows_past_their_time_go_and_the_others_stay(filled: str) -> None:
    removed = remove_old_rows(as_role(filled, "civicstream_writer"))
    assert removed is not None
    assert {name for name, chunks, rows in removed if chunks or rows} == {
        "readings_noise",
        "results_traffic",
        "dead_letters",
        "forecasts",
        "incidents",
        "sensor_health",
        "anomalies",
        *ALL_YEAR,
        "units",
        "demand",
        "sealed_records",
        "frame_gaps",
        "bin_forecasts",
        "parking_forecasts",
    }
    # A chunk of a day goes when all of it is past, so 29 days stays on either database.
    assert ages(filled, "readings_noise", "ts") == [0, 10, 29]
    assert ages(filled, "results_traffic", "window_start") == [1, 700]
    assert ages(filled, "dead_letters", "received_at") == [1, 89]
    assert ages(filled, "forecasts", "made_at") == [0, 13]
    assert ages(filled, "incidents", "window_end") == [1, 729]
    assert ages(filled, "sensor_health", "window_end") == [1]
    assert ages(filled, "anomalies", "window_end") == [1]
    for table, column in ALL_YEAR.items():
        assert ages(filled, table, column) == [1, 29, 33, 364, 366], table
    assert ages(filled, "units", "at") == ages(filled, "demand", "at") == [1, 29]
    for table in ("bin_forecasts", "parking_forecasts"):
        assert ages(filled, table, "at") == [1, 29], table
    assert ages(filled, "frame_gaps", "at") == [1, 29, 33]
    assert ages(filled, "private.sealed_records", "at") == [1, 29, 33, 364]
    again = remove_old_rows(as_role(filled, "civicstream_writer"))
    assert not [name for name, chunks, rows in again or [] if chunks or rows]


def test_while_another_process_is_at_it_nothing_is_done(filled: str) -> None:
    with psycopg.connect(filled) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        assert remove_old_rows(as_role(filled, "civicstream_writer")) is None
    assert 60 in ages(filled, "readings_noise", "ts")


def test_the_sinks_timer_applies_retention_and_ends_when_told(
    filled: str, kafka: KafkaSettings
) -> None:
    create_topics(kafka)
    timer = Maintenance(settings_for(filled, kafka, keep={}, maintenance_every_s=0.2))
    timer.start()
    wait_until(lambda: 60 not in ages(filled, "readings_noise", "ts"), "retention", timeout_s=20)
    timer.stop()
    assert not timer.is_alive()


def test_a_shorter_retention_takes_effect_with_the_next_init(filled: str) -> None:
    settings = settings_for(filled, keep={})
    shorter = settings.database.model_copy(update={"readings_retention_days": 8})
    init_database(settings.model_copy(update={"database": shorter}))
    remove_old_rows(as_role(filled, "civicstream_writer"))
    assert ages(filled, "readings_noise", "ts") == [0]


def test_where_the_citys_clock_is_declared_retention_goes_by_it(filled: str) -> None:
    """40 days ago is now in the city: rows of 60 days are 20 days old there, and are kept."""
    settings = settings_for(filled, keep={})
    present = wall_ms()
    ago = ClockSettings(wall_ms=present, city_ms=present - 40 * 86_400_000, speed=60)
    init_database(settings.model_copy(update={"clock": ago}))
    [behind] = ask(filled, "SELECT extract(epoch FROM now() - city_now()) / 86400")[0]
    assert 39 < float(behind) < 40, "60 times as fast since: about an hour for every minute"
    hold_jobs(filled)
    remove_old_rows(as_role(filled, "civicstream_writer"))
    assert ages(filled, "readings_noise", "ts") == [0, 10, 29, 33, 60]
    init_database(settings)
    [behind] = ask(filled, "SELECT now() - city_now()")[0]
    assert not behind, "without a declaration it is the database's own time again"
    remove_old_rows(as_role(filled, "civicstream_writer"))
    assert ages(filled, "readings_noise", "ts") == [0, 10, 29]
