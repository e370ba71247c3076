"""The city model in and out of GeoJSON: nothing lost, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.workload import traffic_city
from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.geojson import from_geojson, read_city, to_geojson

CITY = traffic_city(300)


def changed(change: Callable[[Any], None]) -> bytes:
    document = msgspec.json.decode(to_geojson(CITY))
    change(document["features"])
    return msgspec.json.encode(document)


def last_sensor(change: dict[str, Any]) -> bytes:
    return changed(lambda features: features[-1]["properties"].update(change))


def same(one: City, other: City) -> bool:
    columns = ("kind", "area", "segment", "lane", "interval_s", "lon", "lat")
    return (
        one.areas == other.areas
        and one.segments == other.segments
        and one.sensors.ids == other.sensors.ids
        and all(np.array_equal(getattr(one.sensors, c), getattr(other.sensors, c)) for c in columns)
    )


def test_a_city_survives_geojson() -> None:
    assert same(from_geojson(to_geojson(CITY)), CITY)


def test_sensors_may_come_before_the_areas_and_segments_they_name() -> None:
    assert same(
        from_geojson(
            changed(lambda f: f.sort(key=lambda x: x["properties"]["feature"] != "sensor"))
        ),
        CITY,
    )


def test_a_sensor_needs_neither_segment_nor_lane_nor_interval() -> None:
    def strip(features: Any) -> None:
        for name in ("segment", "lane", "interval_s"):
            del features[-1]["properties"][name]

    sensors = from_geojson(changed(strip)).sensors
    assert (sensors.segment[-1], sensors.lane[-1], sensors.interval_s[-1]) == (-1, 0, 60)


def test_what_other_programs_add_to_a_feature_does_not_matter() -> None:
    document = last_sensor({"marker-color": "#ff0000", "notes": {"by": "hand"}})
    assert same(from_geojson(document), CITY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "traffik"}, "sensor/detector-0000299.*traffik"),
        ({"area": "nowhere"}, "sensor/detector-0000299.*nowhere"),
        ({"segment": "nowhere"}, "sensor/detector-0000299.*nowhere"),
        ({"interval_s": "often"}, "sensor/detector-0000299.*often"),
        ({"lane": 99_999}, "detector-0000299"),
        ({"lane": None}, "detector-0000299"),
        ({"feature": "lamp"}, "area, segment or sensor"),
        ({"id": "detector-0000298"}, "share kind, area and id"),
    ],
)
def test_a_wrong_sensor_is_named_with_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        from_geojson(last_sensor(change))


def two_areas(features: Any) -> None:
    """Add an area, and move the last detector of the city there, which stays on its segment."""
    other = msgspec.json.decode(msgspec.json.encode(features[0]))
    other["id"], other["properties"]["id"] = "area/elsewhere", "elsewhere"
    features.insert(1, other)
    features[-1]["properties"]["area"] = "elsewhere"


def test_a_segment_with_detectors_of_two_areas_is_refused_with_both_names(tmp_path: Path) -> None:
    segment = CITY.sensors.segment[-1]
    others = np.flatnonzero(CITY.sensors.segment == segment)[:-1]
    assert len(others)
    file = tmp_path / "city.geojson"
    file.write_bytes(changed(two_areas))
    with pytest.raises(ConfigurationError) as refused:
        read_city(file)
    said = str(refused.value)
    home = CITY.segments[segment].area
    assert f"detector {CITY.sensors.ids[-1]!r} in area 'elsewhere'" in said
    assert f"beside detector {CITY.sensors.ids[others[0]]!r} in area {home!r}" in said
    assert "give a segment and its detectors one area, or split the segment" in said


def test_a_detector_in_another_area_than_its_segment_is_refused() -> None:
    def move_all(features: Any) -> None:
        two_areas(features)
        segment = features[-1]["properties"]["segment"]
        for feature in features:
            if feature["properties"].get("segment") == segment:
                feature["properties"]["area"] = "elsewhere"

    with pytest.raises(ConfigurationError, match=r"of area .* has detector .* in area 'elsewhere'"):
        from_geojson(changed(move_all))


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"features":3}', b"\xff\xfe", b"{"])
def test_what_is_no_feature_collection_is_refused(document: bytes) -> None:
    with pytest.raises(ConfigurationError, match="not a GeoJSON FeatureCollection"):
        from_geojson(document)
