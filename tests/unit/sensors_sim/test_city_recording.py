"""A recorded city's folder: read, made a city of, moved to the present, made messages of."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.geojson import from_geojson, to_geojson
from civicstream.kinds import KINDS
from sensors_sim.city_recording import (
    CityRecording,
    moved_to_present,
    read_city_recording,
    recorded_part,
)
from sensors_sim.city_replay import city_blocks
from sensors_sim.recorded_city import recorded_city

STREETS = """\
street,from_street,to_street,from_node,to_node,from_lat,from_lon,to_lat,to_lon,from_postal_code,length_m,usual_speed_kmh
11,Randersvej,Randersvej,1,2,56.10,10.10,56.11,10.10,8200,1100,60
12,Randersvej,Ringgade,2,3,56.11,10.10,56.11,10.12,8200,1200,195
21,Randersvej,Randersvej,2,1,56.11,10.10,56.10,10.10,8200,1100,60
"""
GARAGES = "garagecode,street,latitude,longitude\nSALLING,Ostergade,56.105,10.101\n"
T0 = int(datetime(2014, 8, 4, 6, tzinfo=UTC).timestamp() * 1000)
MINUTES_5 = 300_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two times of three streets: one reading comes twice, one is missing, one saw no vehicle."""
    (tmp_path / "town_streets.csv").write_text(STREETS, encoding="utf-8")
    (tmp_path / "town_garages.csv").write_text(GARAGES, encoding="utf-8")
    rows = [(11, 0, 52, 4), (12, 0, 60, 0), (12, 0, 60, 0), (21, 0, 40, 2), (11, 1, 50, 3)]
    rows += [(21, 1, 41, 1)]
    columns = {
        "street": [row[0] for row in rows],
        "ts": pa.array([T0 + row[1] * MINUTES_5 for row in rows], pa.timestamp("ms")),
        "speed_kmh": [row[2] for row in rows],
        "vehicles": [row[3] for row in rows],
    }
    pq.write_table(pa.table(columns), tmp_path / "town_august.parquet")
    parking = {
        "garagecode": ["SALLING", "SALLING"],
        "updatetime": ["2014-08-04 08:01:49.478", "2014-08-04 23:31:00.000"],
        "vehiclecount": [710, 5],
        "totalspaces": [700, 700],
    }
    pq.write_table(pa.table(parking), tmp_path / "town_parking.parquet")
    return tmp_path


@pytest.fixture
def recording(folder: Path) -> CityRecording:
    return read_city_recording(folder, *recorded_part(folder, None, None))


@pytest.fixture
def city(recording: CityRecording) -> City:
    return recorded_city(recording)


def test_streets_are_joined_where_their_nodes_meet_but_not_to_their_own_other_side(
    city: City,
) -> None:
    by_id = {segment.id: segment for segment in city.segments}
    assert by_id["11"].downstream == ("12",)
    assert by_id["12"].upstream == ("11",)
    assert by_id["21"].downstream == by_id["21"].upstream == ()
    assert (by_id["11"].corridor, by_id["12"].corridor) == ("Randersvej", "Randersvej / Ringgade")
    assert by_id["12"].free_flow_kmh == 130, "a usual speed of 195 km/h is none"
    assert from_geojson(to_geojson(city)).segments == city.segments


def test_repeats_stay_and_gaps_are_counted(recording: CityRecording) -> None:
    readings = recording.readings
    assert len(readings) == 6
    assert int(readings.repeated().sum()) == 1
    assert readings.gaps(streets=3) == 1


def test_a_mean_is_sent_at_the_end_of_its_five_minutes_and_lies_in_their_window(
    recording: CityRecording,
) -> None:
    shift = 7 * 86_400_000
    blocks = list(city_blocks(recording, shift))
    assert [[g.kind.name for g in block.groups] for block in blocks] == [
        ["traffic"],
        ["traffic", "parking"],
    ]
    first = blocks[0].groups[0]
    assert set((first.ts // MINUTES_5).ravel().tolist()) == {(T0 + shift) // MINUTES_5 - 1}
    assert set(first.due.tolist()) == {T0 + shift - 1}
    assert int(first.fault.sum()) == 1, "the repeat is marked for the truth"


def test_no_speed_is_claimed_where_no_vehicle_passed(recording: CityRecording) -> None:
    traffic = next(city_blocks(recording, 0)).groups[0]
    names = KINDS["traffic"].measure_names
    vehicles, speed = (traffic.measures[names.index(n), :, 0] for n in ("intensity", names[1]))
    assert vehicles.tolist() == [4, 0, 0, 2]
    assert np.isnan(speed).tolist() == [False, True, True, False]


def test_a_car_park_with_more_vehicles_than_spaces_is_full_and_keeps_local_time(
    recording: CityRecording,
) -> None:
    assert recording.parking.ts.tolist() == [T0 + 109_478], "23:31 is not in the part"
    parking = list(city_blocks(recording, 0))[1].groups[1]
    names = KINDS["parking"].measure_names
    assert parking.measures[names.index("availableSpotNumber"), 0, 0] == 0
    assert parking.measures[names.index("totalSpotNumber"), 0, 0] == 700


@pytest.mark.parametrize("present", ["2026-11-29T14:00", "2026-07-01T00:10", "2026-10-26T03:00"])
def test_moved_times_keep_weekday_and_hour_and_end_in_the_last_seven_days(present: str) -> None:
    zone = ZoneInfo("Europe/Copenhagen")
    end = datetime(2014, 8, 18, 8, 30, tzinfo=zone)
    now = datetime.fromisoformat(present).replace(tzinfo=zone)
    now_ms, end_ms = (round(t.timestamp() * 1000) for t in (now, end))
    moved_ms = end_ms + moved_to_present(end_ms, now_ms)
    moved = datetime.fromtimestamp(moved_ms / 1000, zone)
    assert (moved.weekday(), moved.time()) == (end.weekday(), end.time())
    assert now_ms - 7 * 86_400_000 - 3_600_000 <= moved_ms <= now_ms


def test_a_part_is_named_in_the_citys_own_time(folder: Path) -> None:
    begin, end = recorded_part(folder, "2014-08-04T08:00", "2014-08-04T08:04")
    assert (begin, end) == (T0, T0 + 240_000)
    with pytest.raises(ConfigurationError, match="there is 2014-08-04T08:00 to 2014-08-04T08:05"):
        recorded_part(folder, "2015-01-01T00:00", None)
    with pytest.raises(ConfigurationError, match="like 2014-08-04T07:00"):
        recorded_part(folder, "yesterday", None)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("town_streets.csv", None, r"no \*_streets.csv"),
        ("town_august.parquet", None, r"0 files \*.parquet"),
        ("town_streets.csv", STREETS.replace("\n21", "\n22"), r"street 21 is not in"),
        ("town_streets.csv", STREETS.replace("usual_speed", "speed"), "usual_speed_kmh"),
    ],
)
def test_a_folder_that_is_no_recording_is_refused_with_the_file(
    folder: Path, name: str, text: str | None, problem: str
) -> None:
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=problem):
        read_city_recording(folder)


def test_aarhus_has_compact_districts_of_bounded_size_with_names(shared_data: Path) -> None:
    folder = shared_data / "aarhus"
    if not folder.is_dir():
        pytest.skip("the recording of Aarhus is not beside the checkout (../shared/data/aarhus)")
    part = recorded_part(folder, "2014-08-04T06:00", "2014-08-04T06:30")
    city = recorded_city(read_city_recording(folder, *part))
    sizes = [sum(s.area == area.id for s in city.segments) for area in city.areas]
    assert (len(city.segments), len(city.sensors)) == (449, 457)
    assert len({area.name for area in city.areas}) == len(city.areas) == 16
    assert min(sizes) >= 8
    assert max(sizes) <= 45
    assert sum(not s.downstream for s in city.segments) < 10
