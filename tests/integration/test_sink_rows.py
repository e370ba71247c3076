"""What the sink makes of readings, results, late readings and dead letters, on both databases."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import psycopg
import pytest

from civicstream.errors import OwnershipLost
from civicstream.events import (
    DeadLetter,
    EnvironmentResult,
    EnvironmentRow,
    TrafficResult,
    TrafficRow,
)
from civicstream.frames import FrameHeaders, encode
from civicstream.kafka.log_gaps import Position
from civicstream.kinds import KINDS
from sinks.database.schema import reading_columns
from tests.kit.sink_input import START, frame_of, sensors
from tests.kit.sink_rows import Loader, loader, noise

ROWS = "SELECT sensor_key, (extract(epoch FROM ts) * 1000)::bigint, l_aeq FROM {} ORDER BY 1, 2"


def levels(loaded: Loader, table: str = "readings_noise") -> list[float]:
    return [row[2] for row in loaded.rows(ROWS.format(table))]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_reads_back_as_it_was_sent(database: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    names, keys = sensors(kind, "north", 20)
    sensor = np.tile(np.arange(20), 5)
    ts = START + np.repeat(np.arange(5), 20) * 1000
    frame = frame_of(kind, "north", names, keys, sensor, ts, rng)
    listed = ", ".join(reading_columns(KINDS[kind])[2:-1])
    with loader(database) as loaded:
        written = loaded.write(loaded.frame(frame, ingested_at=START + 9000))
        rows = loaded.rows(
            "SELECT sensor_key, (extract(epoch FROM ts) * 1000)::bigint, "
            f"{listed} FROM readings_{kind}"
        )
        named = loaded.rows("SELECT sensor_key, kind, area, sensor FROM sensors")
        latest = loaded.rows(f"SELECT count(*), min(ts) = max(ts) FROM latest_{kind}")
    columns = [frame.measures[name] for name in KINDS[kind].measure_names]
    wanted = {
        (int(keys[s]), int(t)): tuple(None if np.isnan(c[i]) else c[i] for c in columns)
        for i, (s, t) in enumerate(zip(sensor, ts, strict=True))
    }
    assert {(row[0], row[1]): row[2:] for row in rows} == wanted
    assert len(rows) == len(wanted) == written.kinds[kind].accepted
    assert sorted(named) == sorted(
        (int(key), kind, "north", name) for key, name in zip(keys, names, strict=True)
    )
    assert latest == [(20, True)]


def test_a_reading_sent_twice_is_one_row_and_one_duplicate(database: str) -> None:
    with loader(database) as loaded:
        first = loaded.frame(noise("a", [(0, START, 50), (0, START, 50)]), ingested_at=START)
        one = loaded.write(first)
        two = loaded.write(loaded.frame(noise("a", [(0, START, 50)]), ingested_at=START))
        assert levels(loaded) == [50]
        stored = loaded.rows("SELECT received, accepted, duplicate, corrected FROM sink_counts")
    assert (one.kinds["noise"].accepted, one.kinds["noise"].duplicate) == (1, 1)
    assert (two.kinds["noise"].accepted, two.kinds["noise"].duplicate) == (0, 1)
    assert stored == [(3, 1, 2, 0)]


def test_of_two_values_the_one_ingested_later_wins_in_either_order(database: str) -> None:
    with loader(database) as loaded:
        loaded.write(loaded.frame(noise("a", [(0, START, 50), (1, START, 60)]), ingested_at=200))
        loaded.write(loaded.frame(noise("a", [(0, START, 51)]), ingested_at=300))
        loaded.write(loaded.frame(noise("a", [(1, START, 61)]), ingested_at=100))
        assert sorted(levels(loaded)) == [51, 60]
        assert sorted(levels(loaded, "latest_noise")) == [51, 60]
        assert loaded.rows("SELECT accepted, duplicate, corrected FROM sink_counts") == [(2, 0, 2)]


def test_corrections_within_a_batch_and_against_the_table_are_no_duplicates(database: str) -> None:
    with loader(database) as loaded:
        first = loaded.write(
            loaded.frame(
                noise("a", [(0, START, 50), (0, START, 51), (0, START, 51)]), ingested_at=1
            )
        )
        again = loaded.write(
            loaded.frame(noise("a", [(0, START, 51), (0, START, 52)]), ingested_at=2)
        )
        assert levels(loaded) == [52]
    one, two = first.kinds["noise"], again.kinds["noise"]
    assert (one.accepted, one.duplicate, one.corrected) == (1, 1, 1)
    assert (two.accepted, two.duplicate, two.corrected) == (0, 0, 2)


def test_corrections_of_several_days_in_one_batch_are_counted(database: str) -> None:
    days = [START - day * 86_400_000 for day in (0, 1, 5)]
    with loader(database) as loaded:
        loaded.write(loaded.frame(noise("a", [(0, ts, 50) for ts in days]), ingested_at=1))
        other = [(0, days[0], 51), (0, days[1], 50), (0, days[2], 52)]
        again = loaded.write(loaded.frame(noise("a", other), ingested_at=2)).kinds["noise"]
        assert sorted(levels(loaded)) == [50, 51, 52]
    assert (again.accepted, again.duplicate, again.corrected) == (0, 1, 2)


def test_an_older_correction_does_not_win_after_the_same_values_came_again(database: str) -> None:
    with loader(database) as loaded:
        for level, ingested_at in ((60, 100), (60, 300), (70, 200)):
            frame = noise("a", [(0, START, level)])
            loaded.write(loaded.frame(frame, ingested_at=ingested_at))
        assert levels(loaded) == levels(loaded, "latest_noise") == [60]


def test_of_two_ingested_at_once_the_last_to_come_wins_also_over_transactions(
    database: str,
) -> None:
    with loader(database) as loaded:
        for level in (60, 70):
            loaded.write(loaded.frame(noise("a", [(0, START, level)]), ingested_at=100))
        assert levels(loaded) == levels(loaded, "latest_noise") == [70]


def test_a_late_reading_goes_to_history_and_never_sets_the_latest_back(database: str) -> None:
    with loader(database) as loaded:
        loaded.write(loaded.frame(noise("a", [(0, START + 5000, 55)]), ingested_at=1))
        loaded.write(loaded.frame(noise("a", [(0, START, 50)]), ingested_at=2))
        assert sorted(levels(loaded)) == [50, 55]
        assert levels(loaded, "latest_noise") == [55]


def test_a_new_writer_knows_from_the_database_what_is_already_there(database: str) -> None:
    with loader(database) as loaded:
        loaded.write(loaded.frame(noise("a", [(0, START, 50), (1, START, 60)]), ingested_at=1))
        loaded.writer.forget()
        written = loaded.write(
            loaded.frame(noise("a", [(0, START, 50), (1, START + 1, 61)]), ingested_at=2)
        )
        assert sorted(levels(loaded)) == [50, 60, 61]
    assert (written.kinds["noise"].accepted, written.kinds["noise"].duplicate) == (1, 1)


def test_rows_that_someone_else_wrote_are_merged_not_fatal(database: str) -> None:
    with loader(database) as loaded:
        frame = noise("a", [(0, START, 50)])
        loaded.connection.execute(
            "INSERT INTO readings_noise VALUES (%s, to_timestamp(%s), 40, null, to_timestamp(0))",
            (int(frame.sensor_key[0]), START / 1000),
        )
        written = loaded.write(loaded.frame(frame, ingested_at=START))
        assert levels(loaded) == [50]
    assert (written.kinds["noise"].duplicate, written.kinds["noise"].corrected) == (0, 1)


def test_only_the_bad_rows_of_a_batch_become_dead_letters(database: str) -> None:
    readings = [(i % 10, START + i // 10, 40.0 + i % 90) for i in range(600)]
    with loader(database) as loaded:
        _as_owner(database, "ALTER TABLE readings_noise ADD CONSTRAINT quiet CHECK (l_aeq <> 77)")
        written = loaded.write(loaded.frame(noise("a", readings), ingested_at=START))
        assert sorted(levels(loaded)) == sorted(v for _, _, v in readings if v != 77)
        after = loaded.write(loaded.frame(noise("a", [(0, START + 999, 50)]), ingested_at=START))
    bad = [v for _, _, v in readings].count(77)
    assert bad > 3
    counts = written.kinds["noise"]
    assert (counts.received, counts.accepted, counts.rejected) == (600, 600 - bad, bad)
    assert len(loaded.dead_letters) == bad
    dead_letter = loaded.dead_letters[0]
    assert dead_letter.reason == "refused_by_database"
    assert "quiet" in dead_letter.detail
    assert msgspec.json.decode(dead_letter.payload)["LAeq"] == 77
    assert after.kinds["noise"].accepted == 1


def _as_owner(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def test_values_no_row_can_hold_become_dead_letters_and_the_rest_is_written(database: str) -> None:
    frame = noise("a", [(0, START, 50), (1, 2**62, 51), (2, START, float("nan")), (3, START, 53)])
    with loader(database) as loaded:
        written = loaded.write(loaded.frame(frame, ingested_at=START))
        assert sorted(levels(loaded)) == [50, 53]
    assert written.kinds["noise"].rejected == 2
    assert [(dead_letter.reason, dead_letter.count) for dead_letter in loaded.dead_letters] == [
        ("not_storable", 2)
    ]


def test_a_sensor_name_with_nul_does_not_stop_the_batch(database: str) -> None:
    frame = noise("a\0b", [(0, START, 50)])
    with loader(database) as loaded:
        loaded.write(loaded.frame(frame, ingested_at=START))
        assert loaded.rows("SELECT area FROM sensors") == [("a\N{REPLACEMENT CHARACTER}b",)]


CORRUPT: dict[str, Any] = {
    "not_a_frame": lambda h: (b"\x00garbage", h),
    "foreign_frame": None,
    "frame_headers": lambda h: (encode(noise("a", [(0, START, 50)])), h[:2]),
    "frame_count": lambda h: (encode(noise("a", [(0, START, 50), (0, START + 1, 5)])), h),
    "empty_record": lambda h: (None, h),
}


@pytest.mark.parametrize("reason", sorted(CORRUPT))
def test_a_corrupt_record_becomes_a_dead_letter_and_stops_nothing(
    database: str, reason: str
) -> None:
    headers = FrameHeaders("gateway-1", 1, 0, 1, START).to_kafka()
    with loader(database) as loaded:
        if reason == "foreign_frame":
            names, keys = sensors("air", "a", 1)
            one = np.zeros(1, np.int64)
            rng = np.random.default_rng(0)
            value = encode(frame_of("air", "a", names, keys, one, one + START, rng))
        else:
            value, headers = CORRUPT[reason](headers)
        loaded.write(
            loaded.record("city.frames.noise", value, headers),
            loaded.frame(noise("a", [(0, START, 50)]), ingested_at=START),
        )
        assert levels(loaded) == [50]
        assert loaded.positions == {
            p: Position(2, at.topic_id) for p, at in loaded.positions.items()
        }
    assert [dead_letter.reason for dead_letter in loaded.dead_letters] == [reason]
    assert loaded.dead_letters[0].payload == (value or b"")
    assert "city.frames.noise partition 0 offset 0" in loaded.dead_letters[0].detail


def traffic(segment: str, flow: float, status: str = "final") -> bytes:
    row = TrafficRow(
        segment=segment,
        readings=3,
        vehicles=5.0,
        flow_veh_h=flow,
        time_mean_speed_kmh=50.0,
        space_mean_speed_kmh=48.0,
        p85_speed_kmh=None,
        occupancy=0.1,
        density_veh_km_lane=None,
        level_of_service="C",
        travel_time_index=1.1,
        coverage=1.0,
    )
    return msgspec.json.encode(
        TrafficResult("a", START, START + 60_000, status, START + 90_000, [row])  # type: ignore[arg-type]
    )


def test_only_final_results_are_stored_and_the_first_one_stays(database: str) -> None:
    environment = EnvironmentResult(
        kind="air",
        area="a",
        window_start=START,
        window_end=START + 60_000,
        status="final",
        computed_at=START + 90_000,
        readings=9,
        sensors=3,
        measures=[
            EnvironmentRow(
                measure="pm10", readings=9, sensors=3, mean=20.0, min=10.0, max=30.0, p95=29.0
            )
        ],
    )
    with loader(database) as loaded:
        topic = "city.results.traffic"
        loaded.write(
            loaded.record(topic, traffic("s1", 1.0, "provisional"), []),
            loaded.record(topic, traffic("s1", 100.0), []),
            loaded.record(topic, traffic("s1", 200.0), []),
        )
        written = loaded.write(
            loaded.record(topic, traffic("s1", 300.0), []),
            loaded.record("city.results.environment", msgspec.json.encode(environment), []),
        )
        stored = loaded.rows("SELECT segment, flow_veh_h, p85_speed_kmh FROM results_traffic")
        air = loaded.rows(
            "SELECT kind, measure, window_readings, mean, p95 FROM results_environment"
        )
    assert stored == [("s1", 100.0, None)]
    assert air == [("air", "pm10", 9, 20.0, 29.0)]
    assert written.result_rows == 1


def test_late_readings_are_noted_with_the_window_they_missed(database: str) -> None:
    headers = [
        *FrameHeaders("gateway-1", 1, 0, 2, START + 70).to_kafka(),
        ("kind", b"noise"),
        ("closed_until", b"%d" % (START + 60)),
    ]
    value = encode(noise("a", [(0, START, 50), (1, START + 1, 51)]))
    with loader(database) as loaded:
        loaded.write(loaded.record("city.late", value, headers))
        loaded.write(loaded.record("city.late", value, headers))
        rows = loaded.rows(
            "SELECT kind, (extract(epoch FROM ts) * 1000)::bigint, "
            "(extract(epoch FROM closed_until) * 1000)::bigint FROM late_readings ORDER BY ts"
        )
    assert rows == [("noise", START, START + 60), ("noise", START + 1, START + 60)]


def test_dead_letters_of_every_stage_are_stored_once(database: str) -> None:
    dead_letter = DeadLetter(
        stage="gateway",
        reason="out_of_range",
        detail="sensor 'A7': occupancy 45 is outside 0..1 \0",
        topic="city/v1/traffic/a/A7",
        received_at=START,
        payload=b'{"occupancy": 45}\x00\xff',
        payload_bytes=19,
        kind="traffic",
        members=[(0, "bad \0")],
    )
    headers = [("ce_source", b"gateway/g"), ("ce_id", b"7")]
    with loader(database) as loaded:
        value = msgspec.json.encode(dead_letter)
        loaded.write(loaded.record("city.deadletter", value, headers))
        loaded.write(loaded.record("city.deadletter", value, headers))
        loaded.write(loaded.record("city.deadletter", value, []))
        rows = loaded.rows("SELECT stage, reason, payload, members FROM dead_letters ORDER BY id")
    wanted = (
        "gateway",
        "out_of_range",
        dead_letter.payload,
        [[0, "bad \N{REPLACEMENT CHARACTER}"]],
    )
    assert rows == [wanted, wanted]


def test_a_gap_in_frame_numbers_is_announced_and_kept(database: str) -> None:
    with loader(database) as loaded:
        loaded.write(loaded.frame(noise("a", [(0, START, 50)]), ingested_at=1))
        loaded.write(loaded.frame(noise("a", [(0, START + 1, 50)]), ingested_at=2, seq=4))
        stored = loaded.rows("SELECT next_seq, records, events, missing FROM records_seen")
    assert [(gap.first, gap.missing) for gap in loaded.gaps] == [(1, 3)]
    assert stored == [(5, 2, 2, [1, 3])]


def test_a_zombie_that_lost_its_partition_writes_nothing(database: str) -> None:
    with loader(database) as loaded:
        loaded.write(loaded.frame(noise("a", [(0, START, 50)]), ingested_at=1))
        zombie = Loader(loaded.connection)
        zombie.positions = {p: Position(0, at.topic_id) for p, at in loaded.positions.items()}
        with pytest.raises(OwnershipLost, match="expected offset 0 in the database, found 1"):
            zombie.write(zombie.frame(noise("a", [(0, START + 9, 99)]), ingested_at=2))
        assert levels(loaded) == [50]
