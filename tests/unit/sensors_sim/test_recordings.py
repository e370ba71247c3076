"""Recorded CSV series become readings with the right times, units and required measures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS
from sensors_sim.recordings import convert, find_measure, read_recording, rows_of
from sensors_sim.replay import Series, series_blocks, shift_to
from sensors_sim.replay_city import city_around, read_neighbours

START = 1_330_588_800_000


def wide(folder: Path, text: str = "7,a,b\n1,2,3\n4,,6\n") -> Path:
    path = folder / "wide.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_wide_file_has_a_column_per_sensor_and_a_row_per_interval(tmp_path: Path) -> None:
    r = read_recording(wide(tmp_path), start_ms=START, interval_s=None, timezone="UTC")
    assert r.sensors == ["7", "a", "b"]
    assert r.ts.tolist() == [START, START + 300_000]
    assert np.array_equal(r.values, [[1, 2, 3], [4, np.nan, 6]], equal_nan=True)
    assert r.rows(1, None).ts.tolist() == [START + 300_000]


def test_a_gap_in_the_file_is_no_reading(tmp_path: Path) -> None:
    r = read_recording(wide(tmp_path), start_ms=START, interval_s=60, timezone="UTC")
    (block,) = series_blocks(Series(r, "traffic", find_measure("traffic", "averageVehicleSpeed")))
    (messages,) = block.groups
    assert messages.sensor.tolist() == [0, 1, 2, 0, 2]
    assert messages.ts[:, 0].tolist() == [START] * 3 + [START + 60_000] * 2
    measures = dict(zip(KINDS["traffic"].measure_names, messages.measures[:, :, 0], strict=True))
    assert measures["averageVehicleSpeed"].tolist() == [1, 2, 3, 4, 6]
    assert set(measures["intensity"].tolist()) == {100.0}
    assert set(measures["period"].tolist()) == {60.0}
    assert np.all(np.isnan(measures["occupancy"]))


def test_a_long_file_is_one_sensor_in_its_time_zone_sorted_by_time(tmp_path: Path) -> None:
    path = tmp_path / "loop_12.csv"
    path.write_text(
        "timestamp,value\n2015-09-01 13:50:00,6.5\n2015-09-01 13:45:00,3\n2015-09-01 13:55:00,1\n"
    )
    r = read_recording(path, start_ms=None, interval_s=None, timezone="America/Chicago")
    assert r.sensors == ["loop_12"]
    assert r.ts[0] == 1_441_133_100_000  # 18:45 UTC: daylight saving time
    assert r.values[:, 0].tolist() == [3, 6.5, 1]
    assert r.interval_s == 300
    with pytest.raises(ConfigurationError, match="no such time zone"):
        read_recording(path, start_ms=None, interval_s=None, timezone="Mars/Olympus")


def test_units_are_converted_to_the_contracts_own() -> None:
    speed = find_measure("traffic", "averageVehicleSpeed")
    assert convert(np.array([65.0]), "mph", speed)[0] == pytest.approx(104.60736)
    occupancy = find_measure("traffic", "occupancy")
    assert convert(np.array([6.44]), "percent", occupancy)[0] == pytest.approx(0.0644)
    warmth = find_measure("weather", "temperature")
    assert convert(np.array([212.0, 32.0]), "fahrenheit", warmth) == pytest.approx([100, 0])
    assert convert(np.array([5.0]), None, speed)[0] == 5
    with pytest.raises(ConfigurationError, match="converts to km/h, but occupancy is in fraction"):
        convert(np.array([5.0]), "mph", occupancy)
    with pytest.raises(ConfigurationError, match="'knots'"):
        convert(np.array([5.0]), "knots", speed)


def test_now_means_that_the_last_row_goes_out_at_its_own_time(tmp_path: Path) -> None:
    r = read_recording(wide(tmp_path), start_ms=START, interval_s=None, timezone="UTC")
    present = 1_795_000_000_000
    assert shift_to(r, "original", 5, present) is r
    assert shift_to(r, "now", 1, present).ts[0] == present
    assert shift_to(r, "now", math.inf, present).ts[-1] == present
    tenfold = shift_to(r, "now", 10, present).ts
    assert tenfold[-1] == present + 30_000
    assert shift_to(r, 1_000, 10, present).ts.tolist() == [1_000, 301_000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "no rows"),
        ("a,b\nx,1\n", "column 'a' holds string, not numbers"),
        ("timestamp,value\nnoon,1\n", "timestamps are not like"),
        ("a,b\n1\n", "not a CSV file"),
    ],
)
def test_a_file_that_cannot_be_replayed_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_recording(wide(tmp_path, text), start_ms=1, interval_s=None, timezone="UTC")


def test_a_wide_file_needs_a_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--start"):
        read_recording(wide(tmp_path), start_ms=None, interval_s=None, timezone="UTC")
    with pytest.raises(ConfigurationError, match="wide"):
        read_recording(tmp_path / "wide", start_ms=1, interval_s=None, timezone="UTC")


def test_rows_are_given_like_a_slice(tmp_path: Path) -> None:
    assert rows_of("0:24") == (0, 24)
    assert rows_of(":") == (0, None)
    assert rows_of("5:") == (5, None)
    for wrong in ("24", "a:b", "1:2:3"):
        with pytest.raises(ConfigurationError, match="--rows"):
            rows_of(wrong)
    r = read_recording(wide(tmp_path), start_ms=START, interval_s=None, timezone="UTC")
    with pytest.raises(ConfigurationError, match="has 2 rows, none of them there"):
        r.rows(10, 20)


def test_a_measure_that_cannot_stand_alone_is_refused(tmp_path: Path) -> None:
    r = read_recording(wide(tmp_path), start_ms=START, interval_s=None, timezone="UTC")
    with pytest.raises(ConfigurationError, match="also needs availableSpotNumber"):
        Series(r, "parking", find_measure("parking", "totalSpotNumber"))
    with pytest.raises(ConfigurationError, match="kind noise has LAeq, LAmax"):
        find_measure("noise", "loudness")


def test_the_city_around_a_recording_has_its_sensors_areas_and_neighbours(tmp_path: Path) -> None:
    weights = tmp_path / "adj.csv"
    weights.write_text("1,0.5,0\n0,1,0.7\n0,0,1\n")
    city = city_around(["7", "a", "b"], "traffic", "la", 2, 300, read_neighbours(weights, 3))
    assert [a.id for a in city.areas] == ["la-01", "la-02"]
    assert [s.id for s in city.segments] == ["seg-7", "seg-a", "seg-b"]
    assert [s.area for s in city.segments] == ["la-01", "la-01", "la-02"]
    assert city.segments[0].downstream == ("seg-a",)
    assert city.segments[1].upstream == ("seg-7",)
    assert city.segments[1].downstream == ("seg-b",)
    assert city.sensors.segment.tolist() == [0, 1, 2]
    with pytest.raises(ConfigurationError, match="the recording has 4 sensors"):
        read_neighbours(weights, 4)
    assert city_around(["x"], "air", "one", 1, 60).segments == ()
