"""Old time stamps, however many, neither stop the sink nor retention (TimescaleDB as packaged)."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import psycopg
import pytest

from civicstream.clock import now_ms
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from sinks.admin.init import init_database
from sinks.admin.maintenance import remove_old_rows
from stack.servers.processes import Child, wait_until
from tests.kit.citizen_events import unit
from tests.kit.servers import TimescaleServer
from tests.kit.sink_input import Gateway
from tests.kit.sink_process import ask, received, sink_running, wait_received
from tests.kit.sink_rows import as_role, loader, noise, settings_for

DAY_MS = 86_400_000
COUNTS = "SELECT sum(received)::int, sum(accepted)::int, sum(rejected)::int FROM sink_counts"
CHUNKS = "SELECT count(*)::int FROM timescaledb_information.chunks WHERE hypertable_name = "


def days_of_noise(first: int, last: int) -> list[tuple[int, int, float]]:
    """Return a reading for each of so many days ago."""
    now = now_ms()
    return [(0, now - day * DAY_MS, 40.0 + day % 50) for day in range(first, last)]


def leave_few_locks(server: TimescaleServer) -> None:
    """Make room for some 400 locks, where the packaged settings have 8,000."""
    with psycopg.connect(server.url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET max_locks_per_transaction = 10")
        admin.execute("ALTER SYSTEM SET max_connections = 15")
    server.restart()


@pytest.mark.timeout(240)
def test_a_payload_with_a_reading_on_each_of_7000_days_stops_nothing(
    timescale_server: TimescaleServer, kafka: KafkaSettings, tmp_path: Path
) -> None:
    url = timescale_server.url
    assert ask(url, "SHOW max_locks_per_transaction") == [("64",)]
    create_topics(kafka)
    settings = settings_for(url, kafka, keep={})
    init_database(settings)
    with sink_running(settings, tmp_path) as child, Gateway(kafka) as gateway:
        gateway.publish("north", noise("north", days_of_noise(0, 7_000)), ingested_at=now_ms())
        gateway.flush()
        wait_received(url, 7_000, child)
        good = [(sensor, now_ms(), 50.0) for sensor in range(1, 101)]
        gateway.publish("north", noise("north", good), ingested_at=now_ms())
        gateway.flush()
        wait_received(url, 7_100, child)
        rejected = "SELECT coalesce(sum(count), 0)::int FROM dead_letters WHERE reason = 'too_old'"
        wait_until(
            lambda: ask(url, rejected)[0][0] >= 6_970, "the dead letters' rows", timeout_s=60
        )
    assert ask(url, COUNTS) == [(7_100, 130, 6_970)]
    assert ask(url, rejected) == [(6_970,)]
    assert ask(url, CHUNKS + "'readings_noise'")[0][0] <= 31
    dead_letter = ask(url, "SELECT detail, kind, count FROM dead_letters ORDER BY count LIMIT 1")[0]
    assert "older than the 30 days that readings_noise keeps" in dead_letter[0]
    assert dead_letter[1:] == ("noise", 970)


def test_the_bytes_of_old_readings_are_in_their_dead_letters(timescaledb: str) -> None:
    with loader(timescaledb, keep={}) as loaded:
        readings = days_of_noise(29, 32)
        loaded.write(loaded.frame(noise("north", readings), ingested_at=now_ms()))
        (dead_letter,) = loaded.dead_letters
    assert [r["ts"] for r in msgspec.json.decode(dead_letter.payload)] == [
        r[1] for r in readings[1:]
    ]
    assert (dead_letter.reason, dead_letter.count, len(dead_letter.members)) == ("too_old", 2, 2)


def test_an_event_older_than_its_table_keeps_is_a_dead_letter_too(timescaledb: str) -> None:
    with loader(timescaledb, keep={}) as loaded:
        for at in (now_ms() - 4_000 * DAY_MS, now_ms()):
            event = msgspec.json.encode(unit(id="u1", at=at))
            loaded.write(loaded.record("city.units", event, []))
        assert loaded.rows("SELECT count(*) FROM units") == [(1,)]
        assert loaded.rows("SELECT count(*) FROM units_current") == [(1,)]
    assert [dead_letter.reason for dead_letter in loaded.dead_letters] == ["too_old"]


def test_late_marks_of_old_readings_make_no_chunk_and_no_second_dead_letter(
    timescaledb: str,
) -> None:
    with loader(timescaledb, keep={}) as loaded:
        frame = loaded.frame(noise("north", days_of_noise(0, 7_000)), ingested_at=now_ms())
        late = [*frame.headers, ("kind", b"noise"), ("closed_until", b"%d" % now_ms())]
        loaded.write(loaded.record("city.late", frame.value, late))
        kept = "SELECT count(*)::int FROM late_readings"
        assert loaded.rows(kept)[0][0] in (730, 731)
    assert not loaded.dead_letters


def wait_received_beside_full_locks(url: str, count: int, child: Child) -> None:
    """Wait; while the sink has all the locks there are, others' questions fail too."""

    def enough() -> bool:
        assert child.alive(), child.last_words()
        with contextlib.suppress(psycopg.OperationalError):
            return received(url) >= count
        return False

    wait_until(enough, f"{count} readings in the database", timeout_s=120, every_s=0.2)


@pytest.mark.timeout(280)
def test_what_is_too_much_for_one_transaction_is_written_in_pieces(
    timescale_server: TimescaleServer, kafka: KafkaSettings, tmp_path: Path
) -> None:
    """480 chunks in 40 frames: more than the lock table has room for, and nothing is lost."""
    url = timescale_server.url
    create_topics(kafka)
    settings = settings_for(url, kafka, keep={"readings_retention_days": 500})
    init_database(settings)
    leave_few_locks(timescale_server)
    with Gateway(kafka) as gateway:
        for first in range(0, 480, 12):
            frame = noise("north", days_of_noise(first, first + 12))
            gateway.publish("north", frame, ingested_at=now_ms())
        gateway.flush()
        with sink_running(settings, tmp_path) as child:
            wait_received_beside_full_locks(url, 480, child)
    assert "are too much at once" in child.last_words(500)
    assert ask(url, COUNTS) == [(480, 480, 0)]


@pytest.mark.timeout(280)
def test_a_frame_that_is_too_much_by_itself_does_not_stop_the_others(
    timescale_server: TimescaleServer, kafka: KafkaSettings, tmp_path: Path
) -> None:
    url = timescale_server.url
    create_topics(kafka)
    settings = settings_for(url, kafka, keep={"readings_retention_days": 500})
    init_database(settings)
    leave_few_locks(timescale_server)
    with sink_running(settings, tmp_path) as child, Gateway(kafka) as gateway:
        gateway.publish("north", noise("north", days_of_noise(0, 480)), ingested_at=now_ms())
        gateway.publish("north", noise("north", [(1, now_ms(), 50.0)]), ingested_at=now_ms())
        gateway.flush()
        wait_received_beside_full_locks(url, 481, child)
        received, accepted, rejected = ask(url, COUNTS)[0]
        dead_letters = "SELECT coalesce(sum(count), 0)::int FROM dead_letters"
        wait_until(lambda: ask(url, dead_letters)[0][0] == rejected, "dead letters", timeout_s=60)
    assert received == accepted + rejected
    assert accepted > 20
    reasons = ask(url, "SELECT DISTINCT reason FROM dead_letters")
    assert reasons == [("too_much",)]
    assert ask(url, "SELECT count(*)::int FROM latest_noise") == [(2,)]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_table_of_5000_chunks_loses_the_old_ones(timescale_server: TimescaleServer) -> None:
    url = timescale_server.url
    assert ask(url, "SHOW max_locks_per_transaction") == [("64",)]
    settings = settings_for(url, keep={})
    init_database(settings)
    with psycopg.connect(url, autocommit=True) as admin:
        for first in range(0, 5_000, 500):
            admin.execute(
                "INSERT INTO readings_noise (sensor_key, ts, l_aeq, ingested_at) "
                "SELECT 1, now() - make_interval(days => day), 50, now() "
                "FROM generate_series(%s::int, %s::int - 1) day",
                (first, first + 500),
            )
    assert ask(url, CHUNKS + "'readings_noise'")[0][0] == 5_000
    removed = remove_old_rows(as_role(url, "civicstream_writer"))
    assert removed is not None
    assert {name: chunks for name, chunks, _ in removed}["readings_noise"] >= 4_968
    assert ask(url, CHUNKS + "'readings_noise'")[0][0] <= 32
