"""Payloads: what is accepted, and the sentence each bad one is rejected with."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from civicstream.kinds import KINDS, Kind
from civicstream.reading_age import MaxAge
from ingest.readings import Decoded, ReadingDecoder

# the machine may be busy: what is tested is not speed
PATIENT = settings(suppress_health_check=[HealthCheck.too_slow])

NOW = 1_795_282_800_000  # 2026-11-21T17:40:00Z
MAX_AGE = MaxAge(30, "CIVICSTREAM_DATABASE__READINGS_RETENTION_DAYS")
OLDEST = NOW - 30 * 86_400_000
SKEW = 30_000
GOOD = {"ts": NOW, "intensity": 12, "averageVehicleSpeed": 63.5, "period": 20}
DECODERS = {
    name: ReadingDecoder(kind, max_age=MAX_AGE, max_future_skew_ms=SKEW)
    for name, kind in KINDS.items()
}


def decode(payload: Any, kind: str = "traffic", sensor: str = "A7") -> Decoded:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return DECODERS[kind].decode(raw, sensor, NOW)


def rejection(payload: Any, kind: str = "traffic") -> tuple[str, str]:
    """The reason and sentence of a payload that is one bad reading."""
    decoded = decode(payload, kind)
    assert decoded.rows == []
    (bad,) = decoded.bad
    return bad.reason, bad.detail


def test_one_reading_becomes_one_row_in_the_order_of_the_measures() -> None:
    assert decode(GOOD).rows == [(NOW, 12, 63.5, None, 20, None)]


def test_an_array_becomes_a_row_for_each_member() -> None:
    later = GOOD | {"ts": NOW + 1000, "lane": 2}
    assert decode([GOOD, later]).rows == [
        (NOW, 12, 63.5, None, 20, None),
        (NOW + 1000, 12, 63.5, None, 20, 2),
    ]


def test_null_is_not_measured_and_unknown_fields_are_ignored() -> None:
    payload = GOOD | {"occupancy": None, "battery": {"volts": [3.1]}, "sensor": "A7"}
    assert decode(payload).rows == decode(GOOD).rows


@pytest.mark.parametrize(
    "stamp",
    ["2026-11-21T17:40:00.250Z", "2026-11-21T18:40:00.250+01:00", "2026-11-21t17:40:00.25z"],
)
def test_rfc_3339_with_an_offset_is_read_to_the_millisecond(stamp: str) -> None:
    assert decode(GOOD | {"ts": stamp}).rows[0][0] == NOW + 250


def test_a_bad_member_does_not_take_the_others_with_it() -> None:
    decoded = decode([GOOD, GOOD | {"occupancy": 45}, GOOD | {"ts": NOW + 1}])
    assert [row[0] for row in decoded.rows] == [NOW, NOW + 1]
    assert [(bad.index, bad.reason) for bad in decoded.bad] == [(1, "out_of_range")]


def test_a_number_json_does_not_have_spoils_only_its_member() -> None:
    payload = b'[{"ts":%d,"intensity":NaN,"period":20},{"ts":%d,"intensity":3,"period":20}]' % (
        NOW,
        NOW,
    )
    decoded = decode(payload)
    assert len(decoded.rows) == 1
    assert decoded.bad[0].reason == "not_a_number"
    assert "'A7': intensity nan is not a number" in decoded.bad[0].detail


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != field}


@pytest.mark.parametrize(
    ("payload", "reason", "sentence"),
    [
        (b"hello", "not_json", "sensor 'A7': the payload is not JSON"),
        (b"", "empty_payload", "is empty"),
        (b"[]", "empty_payload", "holds no reading"),
        (b'{"ts":1,"x":"\xff\xfe"}', "invalid_utf8", "not UTF-8 at byte 13"),
        (b"[" * 100_000, "not_json", "nested too deeply"),
        (b'{"ts":%d,"x":%s' % (NOW, b"[" * 100_000), "not_json", "nested too deeply"),
        (b"42", "wrong_shape", "found 42"),
        (b'"reading"', "wrong_shape", "found 'reading'"),
        (b"null", "wrong_shape", "found None"),
        ([7], "wrong_shape", "expected an object with 'ts' and measures, found a number"),
        (GOOD | {"sensor": "B9"}, "sensor_mismatch", "the payload says sensor 'B9'"),
        (GOOD | {"sensor": 7}, "sensor_mismatch", "the payload says sensor 7"),
        (
            GOOD | {"occupancy": 45},
            "out_of_range",
            "sensor 'A7': occupancy 45 is outside 0..1 (expected a fraction, not percent)",
        ),
        (GOOD | {"averageVehicleSpeed": -1.5}, "out_of_range", "-1.5 is outside 0..300"),
        (GOOD | {"intensity": 10**18}, "out_of_range", "is outside 0..10000"),
        (GOOD | {"intensity": "12"}, "wrong_type", "intensity '12' is a string"),
        (GOOD | {"intensity": True}, "wrong_type", "intensity True is a boolean"),
        (GOOD | {"intensity": [1]}, "wrong_type", "is an array, expected a number"),
        (GOOD | {"lane": 1.5}, "not_whole", "lane 1.5 is not a whole number"),
        (GOOD | {"occupancy": math.nan}, "not_a_number", "occupancy nan is not a number"),
        (GOOD | {"occupancy": math.inf}, "not_a_number", "occupancy inf is not a number"),
        (b'{"ts":%d,"intensity":1e999,"period":20}' % NOW, "not_a_number", "intensity inf"),
        (without("intensity"), "missing_measure", "intensity is missing"),
        (GOOD | {"period": None}, "missing_measure", "period is missing, expected s"),
        (without("ts"), "time_missing", "ts is missing"),
        (GOOD | {"ts": True}, "time_malformed", "ts is a boolean"),
        (GOOD | {"ts": NOW + 30_001}, "time_in_future", "30.001 s ahead"),
        (GOOD | {"ts": 5_000_000}, "too_old", "1970-01-01T01:23:20.000Z is before 2026-10-22"),
        (GOOD | {"ts": OLDEST - 1}, "too_old", "than the 30 days that such data are kept; correct"),
        (GOOD | {"ts": OLDEST - 1}, "too_old", "raise CIVICSTREAM_DATABASE__READINGS_RETENTION_D"),
        (GOOD | {"ts": -1}, "too_old", "-1 ms since 1970"),
        (GOOD | {"ts": 2**63}, "time_in_future", "ms since 1970"),
        (GOOD | {"ts": 10**30}, "number_too_large", "beyond ±2^63; give epoch milliseconds"),
        (GOOD | {"ts": -(10**400)}, "number_too_large", "beyond ±2^63"),
        (GOOD | {"ts": 1e300}, "number_too_large", "sensor 'A7': ts 1e+300 is beyond ±2^63"),
        (b'{"ts":%s}' % (b"9" * 5_000), "number_too_large", "an integer of more than 4300 digits"),
        (b'{"ts":"\\ud800"}', "lone_surrogate", r"ts '\ud800' holds half of a surrogate pair"),
        (GOOD | {"intensity": 10**400}, "number_too_large", "intensity 1000000"),
        (GOOD | {"averageVehicleSpeed": -1e19}, "number_too_large", "averageVehicleSpeed -1e+19"),
        (GOOD | {"ts": NOW // 1000}, "time_in_seconds", "looks like seconds, expected millisec"),
        (GOOD | {"ts": NOW / 1000 + 0.25}, "time_in_seconds", "looks like seconds"),
        (GOOD | {"ts": NOW * 1000}, "time_in_microseconds", "looks like microseconds"),
        (GOOD | {"ts": NOW * 1_000_000}, "time_in_nanoseconds", "looks like nanoseconds"),
        (GOOD | {"ts": "2026-11-21T17:40:00"}, "time_without_offset", "add Z or +hh:mm"),
        (GOOD | {"ts": "1999-12-31T23:59:59Z"}, "too_old", "is before 2026-10-22"),
        (GOOD | {"ts": "2026-11-21T17:41:00Z"}, "time_in_future", "60 s ahead"),
        (GOOD | {"ts": "yesterday"}, "time_malformed", "'yesterday' is not RFC 3339"),
        (GOOD | {"ts": str(NOW)}, "time_malformed", "is not RFC 3339"),
    ],
)
def test_each_bad_reading_is_rejected_with_a_sentence(
    payload: Any, reason: str, sentence: str
) -> None:
    found, detail = rejection(payload)
    assert found == reason
    assert sentence in detail


def test_a_reading_without_any_measure_is_rejected() -> None:
    reason, detail = rejection({"ts": NOW, "pm2.5": 7}, "air")
    assert reason == "no_measures"
    assert "pm25, pm10" in detail


def test_what_a_device_sends_cannot_flood_the_message() -> None:
    _, detail = rejection(GOOD | {"intensity": "x" * 100_000, "sensor": "A7"})
    assert len(detail) < 200


# The oracle: the rules once more, as plainly as they can be said, on what json.loads yields.


def oracle_accepts(kind: Kind, reading: dict[str, Any]) -> bool:
    def is_number(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value)

    def fits(value: Any, measure: Any) -> bool:
        if value is None:
            return not measure.required
        in_range = is_number(value) and measure.minimum <= value <= measure.maximum
        return in_range and not (measure.integer and value % 1 != 0)

    measures = [(reading.get(m.name), m) for m in kind.measures]
    return (
        reading.get("sensor") in (None, "A7")
        and is_number(reading["ts"])
        and OLDEST <= reading["ts"] <= NOW + SKEW
        and all(fits(value, measure) for value, measure in measures)
        and any(value is not None for value, _ in measures)
    )


@st.composite
def some_readings(draw: st.DrawFn) -> tuple[Kind, list[dict[str, Any]]]:
    kind = draw(st.sampled_from(list(KINDS.values())))

    def value(low: float, high: float) -> st.SearchStrategy[Any]:
        low, high = max(low, -1e13), min(high, 1e13)
        edges = st.sampled_from([low, high, math.nextafter(high, math.inf), low - 1, int(high)])
        inside = st.floats(low, high)
        whole = st.integers(math.ceil(low), math.floor(high))
        return st.one_of(inside, inside, whole, whole, edges, st.none())

    odd = st.sampled_from([True, "1", [], {}, math.nan, math.inf, 10**30, -1e300])
    members = []
    for _ in range(draw(st.integers(1, 5))):
        reading: dict[str, Any] = {"ts": draw(value(OLDEST, NOW + SKEW).filter(_whole))}
        for measure in kind.measures:
            if draw(st.integers(0, 9)) or measure.required:
                usual = value(measure.minimum, measure.maximum)
                reading[measure.name] = draw(odd if draw(st.integers(0, 30)) == 0 else usual)
        if not draw(st.integers(0, 3)):
            reading["sensor"] = draw(st.sampled_from(["A7", "A7", None, "B9"]))
        members.append(reading)
    return kind, members


def _whole(value: Any) -> bool:
    return value is not None and value == int(value)


@PATIENT
@given(some_readings())
def test_the_decoder_accepts_exactly_what_the_rules_say(
    case: tuple[Kind, list[dict[str, Any]]],
) -> None:
    kind, members = case
    decoded = decode(json.dumps(members).encode(), kind.name)
    expected = [
        (reading["ts"], *(reading.get(name) for name in kind.measure_names))
        for reading in members
        if oracle_accepts(kind, reading)
    ]
    rejected = [i for i, reading in enumerate(members) if not oracle_accepts(kind, reading)]
    assert decoded.rows == expected
    assert [bad.index for bad in decoded.bad] == rejected


@PATIENT
@given(some_readings())
def test_a_reading_alone_fares_as_it_does_in_an_array(
    case: tuple[Kind, list[dict[str, Any]]],
) -> None:
    kind, members = case
    alone = [decode(json.dumps(member).encode(), kind.name) for member in members]
    together = decode(json.dumps(members).encode(), kind.name)
    assert [row for decoded in alone for row in decoded.rows] == together.rows
    assert [b.detail for d in alone for b in d.bad] == [b.detail for b in together.bad]


@PATIENT
@given(st.binary(max_size=200))
def test_any_bytes_are_either_rows_or_rejections(payload: bytes) -> None:
    decoded = decode(payload)
    assert decoded.rows or decoded.bad


@PATIENT
@given(
    st.datetimes(datetime(2026, 10, 23), datetime(2026, 11, 20)),  # noqa: DTZ001 hypothesis wants naive
    st.integers(-14 * 60, 14 * 60),
)
def test_rfc_3339_means_the_same_moment_in_every_offset(moment: datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=UTC)
    local = aware.astimezone(timezone(timedelta(minutes=minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert decode(GOOD | {"ts": local.isoformat()}).rows[0][0] == expected
