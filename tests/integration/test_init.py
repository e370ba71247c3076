"""`civicstream init` brings a database up once, however often and from wherever it is run."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from pydantic import SecretStr

from civicstream.city import Area, City, Segment, Sensors
from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.events import (
    Anomaly,
    EnvironmentRow,
    ForecastRow,
    Incident,
    SensorHealth,
    TrafficRow,
)
from civicstream.geojson import write_city
from civicstream.kinds import KINDS, Measure, sensor_key
from civicstream.postgres import connect
from civicstream.settings import CitySettings, DatabaseSettings, KafkaSettings, Settings
from civicstream.topics import TOPICS
from sinks.admin.init import init_database
from sinks.admin.init import run as init_all
from sinks.database.migrate import migrations
from sinks.database.rights import check_rights
from sinks.database.rollups import SPANS, rollups
from stack.servers.processes import Child, wait_until
from tests.kit.sink_rows import as_role, settings_for


def ask(url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), values or None).fetchall()


def test_a_second_run_changes_nothing(database: str) -> None:
    applied, _, _ = init_database(settings_for(database))
    assert applied[: len(migrations())] == [m.name for m in migrations()]
    assert init_database(settings_for(database))[0] == []


def test_tables_with_time_are_hypertables_where_timescaledb_is(timescaledb: str) -> None:
    _, timescale, _ = init_database(settings_for(timescaledb, keep={}))
    found = ask(timescaledb, "SELECT hypertable_name FROM timescaledb_information.hypertables")
    wanted = {f"readings_{kind}" for kind in KINDS}
    wanted |= {"results_traffic", "results_environment", "late_readings", "forecasts"}
    wanted |= {"units", "demand", "bin_forecasts", "parking_forecasts"}
    assert {name for (name,) in found} == wanted
    assert timescale is not None
    assert [(timescale.license,)] == ask(timescaledb, "SHOW timescaledb.license")
    widths = ask(
        timescaledb,
        "SELECT time_interval FROM timescaledb_information.dimensions "
        "WHERE hypertable_name = 'readings_air'",
    )
    assert widths[0][0].days == 1


def test_result_tables_have_a_column_for_every_field_of_a_result(postgres: str) -> None:
    init_database(settings_for(postgres))
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
    traffic = {name for (name,) in ask(postgres, query, "results_traffic")}
    environment = {name for (name,) in ask(postgres, query, "results_environment")}
    assert traffic >= set(TrafficRow.__struct_fields__)
    assert environment >= set(EnvironmentRow.__struct_fields__)
    for table, event in (
        ("incidents", Incident),
        ("sensor_health", SensorHealth),
        ("anomalies", Anomaly),
        ("forecasts", ForecastRow),
    ):
        assert {name for (name,) in ask(postgres, query, table)} >= set(event.__struct_fields__)


def command(settings: Settings, folder: Path, number: int, **more: str) -> Child:
    """Start the real command `civicstream init`."""
    secrets = settings.database
    variables = {
        "CIVICSTREAM_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "CIVICSTREAM_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "CIVICSTREAM_KAFKA__PARTITIONS": str(settings.kafka.partitions),
        "CIVICSTREAM_DATABASE__URL": (secrets.owner_url or secrets.url).get_secret_value(),
        "CIVICSTREAM_DATABASE__WRITER_PASSWORD": "civicstream_writer",
    }
    return Child(
        f"init-{number}",
        [sys.executable, "-m", "stack.cli", "init", "--wait", "20"],
        folder / f"init-{number}.log",
        os.environ | variables | more,
    )


def test_two_processes_at_once_do_the_work_once(
    database: str, kafka: KafkaSettings, tmp_path: Path
) -> None:
    settings = settings_for(database, kafka)
    children = [command(settings, tmp_path, number) for number in range(3)]
    wait_until(lambda: not any(c.alive() for c in children), "init to end", timeout_s=60)
    assert [(c.returncode, c.last_words()) for c in children if c.returncode] == []
    versions = ask(database, "SELECT version FROM schema_migrations ORDER BY 1")
    assert [v for (v,) in versions] == [m.version for m in migrations()]
    said = "\n".join(c.last_words() for c in children)
    assert "topics created" in said
    assert sum("no changes to the schema" in c.last_words() for c in children) == 2
    for child in children:
        child.stop()


def test_a_migration_edited_after_it_was_applied_is_refused(postgres: str) -> None:
    init_database(settings_for(postgres))
    with psycopg.connect(postgres) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'other' WHERE version = 2")
    with pytest.raises(ConfigurationError, match="0002_bookkeeping was applied with another text"):
        init_database(settings_for(postgres))


def test_a_measure_declared_later_gets_its_columns(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    init_database(settings_for(database))
    wider = dataclasses.replace(
        KINDS["noise"], measures=(*KINDS["noise"].measures, Measure("LA90", "dB(A)", 0, 194))
    )
    monkeypatch.setitem(KINDS, "noise", wider)
    with (
        connect(as_role(database, "civicstream_writer"), "test") as connection,
        pytest.raises(ConfigurationError, match=r"lacks readings_noise\.l_a90.*civicstream init"),
    ):
        check_rights(connection)
    applied, timescale, _ = init_database(settings_for(database))
    assert "kind noise" in applied
    assert ask(database, "SELECT l_a90 FROM readings_noise") == []
    if timescale and timescale.full:
        assert ask(database, "SELECT l_aeq_mean FROM readings_noise_1h") == []
        _follow_the_remedies(database, caplog.text)
        init_database(settings_for(database))
    assert ask(database, "SELECT l_a90_mean FROM readings_noise_1h") == []


def _follow_the_remedies(url: str, warnings: str) -> None:
    """Run the statements that the log names for roll-ups that may hold history."""
    remedies = re.findall(r"(DROP MATERIALIZED VIEW \w+; DELETE FROM .*?;)", warnings)
    assert len(remedies) == len(SPANS)
    with psycopg.connect(url) as connection:
        for remedy in remedies:
            connection.execute(remedy.encode())


def small_city() -> City:
    square = ((4.0, 52.0), (4.1, 52.0), (4.1, 52.1), (4.0, 52.0))
    areas = (Area("north", "Noord", square), Area("south", "Zuid", square))
    line = ((4.0, 52.0), (4.01, 52.0))
    first = Segment(
        id="s1",
        area="north",
        corridor="A1",
        position=0,
        road_class="freeway",
        lanes=2,
        length_m=500.0,
        free_flow_kmh=100.0,
        line=line,
        upstream=(),
        downstream=("s2",),
    )
    second = Segment(
        id="s2",
        area="north",
        corridor="A1",
        position=1,
        road_class="freeway",
        lanes=2,
        length_m=400.0,
        free_flow_kmh=100.0,
        line=line,
        upstream=("s1",),
    )
    traffic, air = Sensors.kind_names.index("traffic"), Sensors.kind_names.index("air")
    sensors = Sensors.from_rows(
        [("d1", traffic, 0, 0, 1, 20.0, 4.0, 52.0), ("q1", air, 1, -1, 0, 60.0, 4.05, 52.05)]
    )
    return City(areas, (first, second), sensors)


def test_the_city_model_is_loaded_and_loaded_again(database: str, tmp_path: Path) -> None:
    write_city(small_city(), tmp_path / "city.geojson")
    settings = settings_for(database, city=CitySettings(file=tmp_path / "city.geojson"))
    for _ in range(2):
        assert init_database(settings)[2] == 2
    assert ask(database, "SELECT id, downstream FROM segments ORDER BY id") == [
        ("s1", ["s2"]),
        ("s2", []),
    ]
    wanted = [
        (sensor_key("traffic", "north", "d1"), "d1", "s1", 1, 20.0),
        (sensor_key("air", "south", "q1"), "q1", None, None, 60.0),
    ]
    found = ask(database, "SELECT sensor_key, sensor, segment, lane, interval_s FROM sensors")
    assert sorted(found) == sorted(wanted)


@pytest.mark.slow
def test_a_hundred_thousand_sensors_are_loaded_by_copy(postgres: str, tmp_path: Path) -> None:
    count = 100_000
    areas = (Area("north", "Noord", ((4.0, 52.0), (4.1, 52.0), (4.1, 52.1), (4.0, 52.0))),)
    n = np.zeros(count)
    sensors = Sensors(
        ids=[f"n{i}" for i in range(count)],
        kind=n.astype(np.int16) + 2,
        area=n.astype(np.int32),
        segment=n.astype(np.int32) - 1,
        lane=n.astype(np.int16),
        interval_s=n + 60,
        lon=n + 4.0,
        lat=n + 52.0,
    )
    write_city(City(areas, (), sensors), tmp_path / "city.geojson")
    settings = settings_for(postgres, city=CitySettings(file=tmp_path / "city.geojson"))
    assert init_database(settings)[2] == count
    assert ask(postgres, "SELECT count(*), count(DISTINCT sensor_key) FROM sensors") == [
        (count, count)
    ]


def test_topics_are_created_with_the_schema(postgres: str, kafka: KafkaSettings) -> None:
    done = init_all(settings_for(postgres, kafka), wait_s=10)
    assert len(done.topics) == len(TOPICS)
    assert "plain PostgreSQL" in done.summary()


ROLES = tuple(f"civicstream_{name}" for name in ("owner", "writer", "reader", "private"))


def make_role(url: str, name: str, options: str = "") -> SecretStr:
    with psycopg.connect(url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}' {options}".encode())
    return as_role(url, name)


def test_a_role_that_may_not_create_roles_is_told_the_right_and_the_remedy(database: str) -> None:
    # The owner's role is there already where other tests ran before; changing it is refused too.
    init_database(settings_for(database))
    settings = Settings(
        database=DatabaseSettings(
            url=make_role(database, "someone"), writer_password=SecretStr("x")
        )
    )
    with pytest.raises(ConfigurationError, match=r"'someone' may not .*CREATEROLE.*OWNER_URL"):
        init_database(settings)


def test_a_role_with_createrole_that_owns_the_database_needs_no_superuser(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        for role in ROLES:
            connection.execute(f"DROP ROLE IF EXISTS {role}".encode())
    url = make_role(postgres, "cityadmin", "CREATEROLE")
    with psycopg.connect(postgres, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} OWNER TO cityadmin".encode())
    passwords = {"writer_password": SecretStr("w"), "reader_password": SecretStr("r")}
    settings = Settings(database=DatabaseSettings(url=url, **passwords))
    try:
        assert init_database(settings)[0]
        assert init_database(settings)[0] == []
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            for role in reversed(ROLES):  # the owner last: the others' rights come from it
                connection.execute(f"DROP OWNED BY {role} CASCADE".encode())
            for role in ROLES:
                connection.execute(f"DROP ROLE {role}".encode())


def test_a_command_without_rights_ends_with_code_2_and_one_line(
    postgres: str, kafka: KafkaSettings, tmp_path: Path
) -> None:
    init_database(settings_for(postgres))
    url = make_role(postgres, "someone").get_secret_value()
    child = command(settings_for(postgres, kafka), tmp_path, 1, CIVICSTREAM_DATABASE__URL=url)
    wait_until(lambda: not child.alive(), "init to end", timeout_s=30)
    assert child.returncode == 2
    assert "may not create or change the roles" in child.last_words()
    assert "Traceback" not in child.last_words(200)
    assert "someone:" not in child.last_words(200)
    child.stop()


def test_a_password_is_never_sent_as_it_is(postgres: str) -> None:
    init_database(settings_for(postgres))
    stored = ask(postgres, "SELECT rolpassword FROM pg_authid WHERE rolname = 'civicstream_writer'")
    assert stored[0][0].startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:1/none", "host=127.0.0.1 port=1"])
def test_an_absent_database_is_waited_for_then_named(url: str) -> None:
    settings = Settings(database=DatabaseSettings(url=SecretStr(url)))
    with pytest.raises(ServerUnavailable, match="the database is away"):
        init_database(settings, wait_s=0.5)


def test_a_malformed_url_is_a_wrong_setting(postgres: str) -> None:
    settings = Settings(database=DatabaseSettings(url=SecretStr("nonsense=1")))
    with pytest.raises(ConfigurationError, match="CIVICSTREAM_DATABASE__URL"):
        init_database(settings, wait_s=0.5)
    missing = psycopg.conninfo.make_conninfo(postgres, dbname="no_such_database")
    settings = Settings(database=DatabaseSettings(url=SecretStr(missing)))
    with pytest.raises(ConfigurationError, match="does not exist"):
        init_database(settings, wait_s=0.5)


def test_every_rollup_is_a_view_that_answers(database: str) -> None:
    init_database(settings_for(database))
    for rollup in rollups():
        assert ask(database, f"SELECT * FROM {rollup.name}") == []
