"""SenML packs (RFC 8428) as readings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from civicstream.kinds import KINDS
from civicstream.reading_age import MaxAge
from ingest.readings import Decoded, ReadingDecoder

NOW = 1_795_282_800_000
NOW_S = NOW // 1000


def decode(pack: list[Any], kind: str, sensor: str = "A7") -> Decoded:
    decoder = ReadingDecoder(
        KINDS[kind],
        max_age=MaxAge(30, "CIVICSTREAM_DATABASE__READINGS_RETENTION_DAYS"),
        max_future_skew_ms=30_000,
    )
    return decoder.decode(json.dumps(pack).encode(), sensor, NOW)


def test_records_of_one_time_are_one_reading() -> None:
    pack = [
        {"bn": "urn:dev:ow:A7:", "bt": NOW_S, "n": "LAeq", "u": "dBspl", "v": 61.5},
        {"n": "LAmax", "u": "dB", "v": 80},
        {"n": "LAeq", "t": 10, "v": 62},
    ]
    assert decode(pack, "noise").rows == [(NOW, 61.5, 80), (NOW + 10_000, 62, None)]


@pytest.mark.parametrize("name", ["LAeq", "A7/LAeq", "A7:LAeq", "urn:dev:mac:A7/LAeq"])
def test_a_name_is_the_measure_alone_or_after_the_sensor(name: str) -> None:
    assert decode([{"n": name, "v": 50, "t": NOW_S}], "noise").rows == [(NOW, 50, None)]


def test_a_pack_of_another_sensor_is_rejected() -> None:
    (bad,) = decode([{"bn": "B9/", "n": "LAeq", "v": 50, "t": NOW_S}], "noise").bad
    assert bad.reason == "sensor_mismatch"
    assert "'B9/LAeq'" in bad.detail


def test_times_near_zero_count_from_now() -> None:
    pack = [{"n": "LAeq", "v": 50}, {"n": "LAeq", "v": 51, "t": -60}]
    assert [row[0] for row in decode(pack, "noise").rows] == [NOW, NOW - 60_000]


def test_base_values_units_and_times_hold_until_the_next_ones() -> None:
    pack = [
        {"bt": NOW_S, "bu": "%RH", "bv": 50, "n": "relativeHumidity", "v": 1},
        {"n": "relativeHumidity", "v": 2, "t": 1},
        {"bu": "/", "bv": 0, "n": "relativeHumidity", "v": 0.3, "t": 2},
    ]
    rows = decode(pack, "weather").rows
    assert [row[2] for row in rows] == pytest.approx([0.51, 0.52, 0.3])


@pytest.mark.parametrize(
    ("kind", "name", "unit", "value", "ours"),
    [
        ("weather", "temperature", "K", 293.15, 20.0),
        ("weather", "temperature", "Cel", 20, 20),
        ("weather", "atmosphericPressure", "Pa", 101_300, 1013.0),
        ("weather", "windSpeed", "km/h", 36, 10.0),
        ("air", "pm25", "kg/m3", 2e-8, 20.0),
        ("air", "co", "ug/m3", 1500, 1.5),
        ("water", "pressure", "Pa", 250_000, 2.5),
        ("waste", "fillingLevel", "%", 45, 0.45),
    ],
)
def test_units_convert_to_the_measure(
    kind: str, name: str, unit: str, value: float, ours: float
) -> None:
    (row,) = decode([{"n": name, "u": unit, "v": value, "t": NOW_S}], kind).rows
    column = KINDS[kind].measure_names.index(name)
    assert row[1 + column] == pytest.approx(ours)


def test_traffic_can_come_as_senml() -> None:
    pack = [
        {"bt": NOW_S, "n": "intensity", "u": "count", "v": 9},
        {"n": "averageVehicleSpeed", "u": "m/s", "v": 10},
        {"n": "period", "u": "s", "v": 20},
    ]
    assert decode(pack, "traffic").rows == [(NOW, 9, pytest.approx(36), None, 20, None)]


@pytest.mark.parametrize(
    ("record", "reason", "sentence"),
    [
        ({"n": "LAeq", "u": "Cel", "v": 50}, "wrong_unit", "LAeq in unit 'Cel' does not convert"),
        ({"n": "LAeq", "u": "m", "v": 50}, "wrong_unit", "does not convert to dB(A)"),
        ({"n": "LAeq", "v": 500}, "out_of_range", "500 is outside 0..194"),
        ({"n": "LAeq", "v": "50"}, "wrong_type", "is a string"),
        ({"n": "LAeq", "vs": "loud"}, "senml_malformed", "no numeric value"),
        ({"n": 7, "v": 50}, "senml_malformed", "names (bn, n) must be strings"),
        ({"n": "LAeq", "v": 50, "t": "now"}, "senml_malformed", "times (bt, t) must be numbers"),
        ({"n": "LAeq", "v": 50, "t": NOW}, "senml_malformed", "in seconds"),
        ({"n": "LAeq", "v": 50, "bver": 11}, "senml_malformed", "version 11, expected 10"),
        ({"n": "LAeq", "v": 50, "must_": 1}, "senml_malformed", "field 'must_'"),
        ({"n": "LAeq", "v": 10**400}, "number_too_large", "LAeq 1000000"),
        ({"n": "LAeq", "v": 10**400, "bv": 0.5}, "number_too_large", "SenML v and bv: 1000000"),
        ({"n": "LAeq", "v": 0.5, "bv": 10**400}, "number_too_large", "SenML v and bv: 1000000"),
        ({"n": "LAeq", "v": 10**400, "u": "dBspl"}, "number_too_large", "LAeq 1000000"),
        ({"n": "LAeq", "v": 50, "t": 10**400}, "senml_malformed", "in seconds"),
        ({"n": "LAeq", "v": 50, "u": ["dB"]}, "wrong_unit", "unit ['dB'] does not convert"),
        ({"n": "LAeq", "v": 50, "t": NOW_S + 60}, "time_in_future", "60 s ahead"),
    ],
)
def test_a_bad_record_spoils_its_reading_and_no_other(
    record: dict[str, Any], reason: str, sentence: str
) -> None:
    good = {"n": "LAeq", "v": 40, "t": NOW_S - 60}
    decoded = decode([good, record], "noise")
    assert decoded.rows == [(NOW - 60_000, 40, None)]
    (bad,) = decoded.bad
    assert (bad.index, bad.reason) == (1, reason)
    assert sentence in bad.detail


def test_measures_the_kind_does_not_have_are_ignored_like_unknown_fields() -> None:
    pack = [{"n": "LAeq", "v": 40, "t": NOW_S}, {"n": "battery", "u": "V", "v": 3.1, "t": NOW_S}]
    assert decode(pack, "noise").rows == [(NOW, 40, None)]
