"""The city model in and out of GeoJSON: nothing lost, and what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.workload import traffic_city
from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.geojson import from_geojson, to_geojson

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


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"features":3}', b"\xff\xfe", b"{"])
def test_what_is_no_feature_collection_is_refused(document: bytes) -> None:
    with pytest.raises(ConfigurationError, match="not a GeoJSON FeatureCollection"):
        from_geojson(document)
