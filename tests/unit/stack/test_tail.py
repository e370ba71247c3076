"""Records of every topic as JSON lines."""

from __future__ import annotations

import json

import numpy as np
import pytest

from civicstream.frames import Dictionary, Frame, encode
from civicstream.kinds import KINDS
from stack.tail import record_lines


def _frame() -> Frame:
    return Frame(
        kind=KINDS["parking"],
        sensor_key=np.array([1, 2, 3]),
        sensor=Dictionary(np.array([0, 1, 0], np.int32), ["p1", "p2"]),
        area=Dictionary(np.array([0, 1, 0], np.int32), ["north", "south"]),
        ts=np.array([1000, 2000, 3000]),
        measures={
            "availableSpotNumber": np.array([5.0, 6.0, 7.0]),
            "totalSpotNumber": np.array([np.nan, 60.0, np.nan]),
        },
    )


def _read(topic: str, value: bytes | None, **options: object) -> list[dict[str, object]]:
    lines = record_lines(
        topic, value, options.pop("headers", []), "partition 1, offset 9", **options
    )  # type: ignore[arg-type]
    return [json.loads(line) for line in lines]


def test_a_frame_is_a_line_per_reading_without_what_was_not_measured() -> None:
    assert _read("frames.parking", encode(_frame())) == [
        {"kind": "parking", "area": "north", "sensor": "p1", "ts": 1000, "availableSpotNumber": 5},
        {
            "kind": "parking",
            "area": "south",
            "sensor": "p2",
            "ts": 2000,
            "availableSpotNumber": 6,
            "totalSpotNumber": 60,
        },
        {"kind": "parking", "area": "north", "sensor": "p1", "ts": 3000, "availableSpotNumber": 7},
    ]


def test_one_area_only() -> None:
    lines = _read("frames.parking", encode(_frame()), area="north")
    assert [line["ts"] for line in lines] == [1000, 3000]
    result = json.dumps({"area": "south", "window_start": 1}).encode()
    assert len(_read("results.environment", result, area="south")) == 1
    assert _read("results.environment", result, area="north") == []


def test_late_readings_are_frames_of_the_kind_in_their_header() -> None:
    lines = _read("late", encode(_frame()), headers=[("kind", b"parking")])
    assert [line["sensor"] for line in lines] == ["p1", "p2", "p1"]


def test_a_parked_record_is_read_as_one_of_the_topic_where_it_belongs() -> None:
    lines = _read("parked", encode(_frame()), headers=[("parked_topic", b"frames.parking")])
    assert len(lines) == 3
    assert _read("parked", b'{"a": 1}', headers=[("parked_topic", b"reports")]) == [{"a": 1}]


def test_an_event_is_its_own_json_on_one_line() -> None:
    value = b'{\n "area": "north",\n "note": "a\\nb"}'
    (line,) = record_lines("results.traffic", value, [], "")
    assert "\n" not in line
    assert json.loads(line) == {"area": "north", "note": "a\nb"}


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("frames.parking", b"not arrow"),
        ("frames.air", encode(_frame())),
        ("late", encode(_frame())),
        ("results.traffic", b"{half"),
        ("results.traffic", b"\xff"),
        ("frames.air", None),
    ],
)
def test_what_cannot_be_read_says_so_and_where(topic: str, value: bytes | None) -> None:
    (line,) = _read(topic, value)
    assert line["unreadable"]
    assert line["at"] == "partition 1, offset 9"


def test_a_record_that_has_a_person_forgotten_is_a_null_and_of_no_area() -> None:
    assert _read("private", None) == [None]
    assert _read("private", None, area="north") == []
    assert _read("private", b'{"pseudonym":"p","sealed":"s"}', area="north") == []
