"""What the sink makes of incidents, forecasts, sensor health and anomalies, on both databases."""

from __future__ import annotations

import random
import string
from typing import Any

import msgspec
import pytest

from sinks.intelligence import ANOMALIES, FORECASTS, INCIDENTS, SENSOR_HEALTH
from tests.kit.sink_events import AT, MINUTE, anomaly, forecast, forecast_row, health, incident
from tests.kit.sink_rows import Loader, loader, noise


def send(loaded: Loader, topic: str, *events: msgspec.Struct) -> dict[str, int]:
    """Write the events as one batch; return the new rows per table."""
    records = [loaded.record(f"city.{topic}", msgspec.json.encode(e), []) for e in events]
    return loaded.write(*records).events


def as_event(table: Any, row: tuple[Any, ...]) -> dict[str, Any]:
    """Return the row as the event's fields, times as epoch ms."""
    return {
        name: round(value.timestamp() * 1000) if of == "timestamptz" else value
        for name, of, value in zip(table.columns, table.types, row, strict=True)
    }


@pytest.mark.parametrize(
    ("topic", "table", "event"),
    [
        ("incidents", INCIDENTS, incident()),
        ("health", SENSOR_HEALTH, health()),
        ("health", SENSOR_HEALTH, health(sensor=None, sensor_key=2**63 - 1)),
        ("anomalies", ANOMALIES, anomaly()),
        ("anomalies", ANOMALIES, anomaly(sensor=None, sensor_key=-(2**63))),
    ],
)
def test_an_event_reads_back_as_it_was_sent_and_once_however_often_it_comes(
    database: str, topic: str, table: Any, event: msgspec.Struct
) -> None:
    columns = ", ".join(table.columns)
    with loader(database) as loaded:
        assert send(loaded, topic, event, event) == {table.name: 1}
        assert send(loaded, topic, event) == {table.name: 0}
        rows = loaded.seen_by_reader(f"SELECT {columns} FROM {table.name}")
    assert [as_event(table, row) for row in rows] == [msgspec.structs.asdict(event)]


def test_a_forecast_becomes_a_row_per_segment_and_horizon_with_its_target(database: str) -> None:
    event = forecast(
        forecast_row("s1", [50.0, None], [900.0, 800.0]), forecast_row("s2", [40.0, 41.0])
    )
    with loader(database) as loaded:
        assert send(loaded, "forecasts", event, event) == {"forecasts": 4}
        assert send(loaded, "forecasts", event) == {"forecasts": 0}
        rows = loaded.seen_by_reader(f"SELECT {', '.join(FORECASTS.columns)} FROM forecasts")
    found = {(r["segment"], r["horizon_min"]): r for r in (as_event(FORECASTS, x) for x in rows)}
    assert set(found) == {("s1", 15), ("s1", 30), ("s2", 15), ("s2", 30)}
    assert found["s1", 15] == {
        "area": "north",
        "segment": "s1",
        "made_at": AT,
        "target": AT + 15 * MINUTE,
        "horizon_min": 15,
        "speed_kmh": 50.0,
        "speed_low_kmh": 45.0,
        "speed_high_kmh": 55.0,
        "flow_veh_h": 900.0,
        "flow_low_veh_h": 800.0,
        "flow_high_veh_h": 1000.0,
        "computed_at": AT + 30_000,
    }
    assert found["s1", 30]["speed_kmh"] is None
    assert found["s1", 30]["flow_veh_h"] == 800.0
    assert found["s2", 30]["speed_high_kmh"] == 46.0
    assert found["s2", 30]["flow_low_veh_h"] is None


def test_of_two_events_with_one_key_the_first_one_stays(database: str) -> None:
    with loader(database) as loaded:
        send(loaded, "incidents", incident(severity=0.5), incident(severity=0.9))
        send(loaded, "incidents", incident(severity=0.8))
        send(loaded, "health", health(), health(health="flat"))
        send(loaded, "anomalies", anomaly(), anomaly(score=0.1))
        send(loaded, "forecasts", forecast(forecast_row("s1", [50.0, 51.0])))
        send(loaded, "forecasts", forecast(forecast_row("s1", [10.0, 11.0])))
        assert loaded.rows("SELECT severity FROM incidents") == [(0.5,)]
        assert loaded.rows("SELECT health FROM sensor_health") == [("stuck",)]
        assert loaded.rows("SELECT score FROM anomalies") == [(0.99,)]
        assert loaded.rows("SELECT speed_kmh FROM forecasts ORDER BY 1") == [(50.0,), (51.0,)]


def test_current_incidents_are_the_newest_versions(database: str) -> None:
    later = {"window_end": AT + MINUTE}
    with loader(database) as loaded:
        send(
            loaded,
            "incidents",
            incident(id="a", version=1),
            incident(id="b", version=1),
            incident(id="a", version=2, state="confirmed", **later),
            incident(id="b", version=2, state="cleared", **later),
            incident(id="c", version=10, state="clearing"),
            incident(id="c", version=9, state="confirmed"),
        )
        view = "SELECT id, version, state FROM incidents_current"
        assert sorted(loaded.seen_by_reader(view)) == [
            ("a", 2, "confirmed"),
            ("b", 2, "cleared"),
            ("c", 10, "clearing"),
        ]
        assert len(loaded.seen_by_reader(f"{view} WHERE state <> 'cleared'")) == 2
        assert loaded.rows("SELECT count(*) FROM incidents") == [(6,)]


def test_current_health_is_of_sensors_that_are_not_ok_now_with_their_names(
    database: str,
) -> None:
    frame = noise("north", [(0, AT, 50), (1, AT, 50)])
    known, other = frame.sensor_key.tolist()
    recovered = health(
        sensor_key=other, health="ok", before="stuck", since=AT, window_end=AT + MINUTE
    )
    with loader(database) as loaded:
        loaded.write(loaded.frame(frame, ingested_at=AT))
        send(
            loaded,
            "health",
            health(sensor_key=known, sensor=None),
            health(sensor_key=known, sensor=None, health="silent", window_end=AT + MINUTE),
            health(sensor_key=other),
            recovered,
            health(sensor_key=5, sensor=None, health="drifting"),
        )
        found = loaded.seen_by_reader(
            "SELECT sensor_key, sensor, health FROM sensor_health_current"
        )
    assert sorted(found, key=str) == sorted(
        [(known, "north-noise-0", "silent"), (5, None, "drifting")], key=str
    )


def test_current_anomalies_are_the_newest_versions_with_the_sensors_names(database: str) -> None:
    frame = noise("north", [(0, AT, 50)])
    (key,) = frame.sensor_key.tolist()
    with loader(database) as loaded:
        loaded.write(loaded.frame(frame, ingested_at=AT))
        send(
            loaded,
            "anomalies",
            anomaly(id="x", sensor_key=key, sensor=None),
            anomaly(id="x", version=2, sensor_key=key, sensor=None, state="closed"),
            anomaly(id="y", sensor="named by the city"),
        )
        found = loaded.seen_by_reader("SELECT id, version, state, sensor FROM anomalies_current")
    assert sorted(found) == [
        ("x", 2, "closed", "north-noise-0"),
        ("y", 1, "open", "named by the city"),
    ]


TOO_LONG = "".join(random.Random(1).choices(string.ascii_letters, k=9_000))
"""Longer than an index entry may be, also after compression."""

REFUSED: dict[str, msgspec.Struct] = {
    "incidents": incident(id=TOO_LONG),
    "health": health(sensor_key=2**64),
    "anomalies": anomaly(version=2**31),
    "forecasts": forecast(forecast_row("s2", [1.0, 2.0]), made_at=2**70),
}


@pytest.mark.parametrize("topic", sorted(REFUSED))
def test_a_row_the_database_does_not_take_becomes_a_dead_letter_and_the_rest_is_written(
    database: str, topic: str
) -> None:
    good = {
        "incidents": incident(),
        "health": health(),
        "anomalies": anomaly(),
        "forecasts": forecast(forecast_row("s1", [50.0, 51.0])),
    }
    with loader(database) as loaded:
        new = send(loaded, topic, REFUSED[topic], good[topic])
        send(loaded, "incidents", incident(id="the sink goes on"))
        assert loaded.rows("SELECT count(*) FROM incidents WHERE id ~ 'goes on'") == [(1,)]
    assert list(new.values()) == [2 if topic == "forecasts" else 1]
    assert {dead_letter.reason for dead_letter in loaded.dead_letters} == {"refused_by_database"}
    assert len(loaded.dead_letters) == (2 if topic == "forecasts" else 1)


CORRUPT = {
    "incidents": msgspec.json.encode(health()),
    "health": b'{"sensor_key": 1',
    "anomalies": b"\xff\x00",
    "forecasts": msgspec.json.encode(
        forecast(forecast_row("s1", [50.0]), horizons_min=(15, 30))  # a value short
    ),
}


@pytest.mark.parametrize("topic", sorted(CORRUPT))
def test_a_foreign_record_becomes_a_dead_letter_with_its_bytes(postgres: str, topic: str) -> None:
    with loader(postgres) as loaded:
        loaded.write(
            loaded.record(f"city.{topic}", CORRUPT[topic], []),
            loaded.record("city.incidents", msgspec.json.encode(incident()), [], partition=1),
        )
        assert loaded.rows("SELECT id FROM incidents") == [("i1",)]
    (dead_letter,) = loaded.dead_letters
    assert (dead_letter.reason, dead_letter.payload) == ("foreign_record", CORRUPT[topic])
    assert dead_letter.topic == f"city.{topic}"


def test_a_text_with_nul_does_not_stop_the_batch(postgres: str) -> None:
    with loader(postgres) as loaded:
        send(loaded, "health", health(reason="a\0b"))
        assert loaded.rows("SELECT reason FROM sensor_health") == [("a\N{REPLACEMENT CHARACTER}b",)]
