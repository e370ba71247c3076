"""The city model as GeoJSON (RFC 7946), out and in.

One FeatureCollection: areas are Polygons, segments LineStrings, sensors Points; ``feature``
in the properties says which.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from civicstream.city import Area, City, Point, Segment, Sensors
from civicstream.errors import ConfigurationError

__all__ = ["from_geojson", "read_city", "to_geojson", "write_city"]


def to_geojson(city: City) -> bytes:
    """Return the city as a GeoJSON FeatureCollection."""
    s = city.sensors
    features = [
        _feature("area", "Polygon", [a.outline], {"id": a.id, "name": a.name}) for a in city.areas
    ]
    features += [_segment_feature(segment) for segment in city.segments]
    features += [
        _feature("sensor", "Point", (s.lon[i], s.lat[i]), _sensor_properties(city, i))
        for i in range(len(s))
    ]
    document = {"type": "FeatureCollection", "features": features}
    return msgspec.json.encode(document, enc_hook=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(type(value))


def _feature(feature: str, shape: str, coordinates: Any, properties: dict[str, Any]) -> Any:
    return {
        "type": "Feature",
        "id": f"{feature}/{properties['id']}",
        "geometry": {"type": shape, "coordinates": coordinates},
        "properties": {"feature": feature, **properties},
    }


def _segment_feature(segment: Segment) -> Any:
    properties = {
        name: getattr(segment, name) for name in Segment.__dataclass_fields__ if name != "line"
    }
    return _feature("segment", "LineString", segment.line, properties)


def _sensor_properties(city: City, i: int) -> dict[str, Any]:
    s = city.sensors
    properties: dict[str, Any] = {
        "id": s.ids[i],
        "kind": Sensors.kind_names[s.kind[i]],
        "area": city.areas[s.area[i]].id,
        "interval_s": s.interval_s[i],
    }
    if s.segment[i] >= 0:
        properties |= {"segment": city.segments[s.segment[i]].id, "lane": s.lane[i]}
    return properties


def from_geojson(document: bytes) -> City:
    """Return the city in a GeoJSON document; raise ConfigurationError naming what is wrong."""
    try:
        features = msgspec.json.decode(document)["features"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise ConfigurationError(f"city model: not a GeoJSON FeatureCollection: {error}") from error
    grouped: dict[str, list[Any]] = {"area": [], "segment": [], "sensor": []}
    for number, feature in enumerate(features):
        try:
            grouped[feature["properties"]["feature"]].append(feature)
        except (KeyError, TypeError) as error:
            raise ConfigurationError(
                f"city model: feature {number} needs a property 'feature' that is "
                "area, segment or sensor"
            ) from error
    areas = tuple(_checked(_area, f) for f in grouped["area"])
    segments = tuple(_checked(_segment, f) for f in grouped["segment"])
    area_index = {a.id: i for i, a in enumerate(areas)}
    segment_index = {s.id: i for i, s in enumerate(segments)}
    rows = [_checked(_sensor_row, f, area_index, segment_index) for f in grouped["sensor"]]
    return City(areas, segments, Sensors.from_rows(rows))


def _checked(build: Any, feature: Any, *more: Any) -> Any:
    try:
        return build(feature, *more)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        name = feature.get("id") or feature.get("properties")
        raise ConfigurationError(
            f"city model: feature {name!r}: {type(error).__name__} {error}"
        ) from error


def _points(coordinates: Any) -> tuple[Point, ...]:
    return tuple((float(p[0]), float(p[1])) for p in coordinates)


def _area(feature: Any) -> Area:
    p = feature["properties"]
    ring = _points(feature["geometry"]["coordinates"][0])
    return Area(p["id"], p.get("name", p["id"]), ring)


def _segment(feature: Any) -> Segment:
    p = feature["properties"]
    if p["road_class"] not in {"freeway", "street"}:
        raise ValueError(f"road_class {p['road_class']!r} is neither freeway nor street")
    if not (p["lanes"] > 0 and p["length_m"] > 0 and p["free_flow_kmh"] > 0):
        raise ValueError("lanes, length_m and free_flow_kmh must be above zero")
    return Segment(
        id=p["id"],
        area=p["area"],
        corridor=p["corridor"],
        position=int(p["position"]),
        road_class=p["road_class"],
        lanes=int(p["lanes"]),
        length_m=float(p["length_m"]),
        free_flow_kmh=float(p["free_flow_kmh"]),
        line=_points(feature["geometry"]["coordinates"]),
        upstream=tuple(p.get("upstream", ())),
        downstream=tuple(p.get("downstream", ())),
    )


def _sensor_row(
    feature: Any, area_index: dict[str, int], segment_index: dict[str, int]
) -> tuple[str, int, int, int, int, float, float, float]:
    p = feature["properties"]
    lon, lat = feature["geometry"]["coordinates"][:2]
    segment = segment_index[p["segment"]] if p.get("segment") else -1
    kind = Sensors.kind_names.index(p["kind"])
    interval = float(p.get("interval_s", 60))
    return p["id"], kind, area_index[p["area"]], segment, p.get("lane", 0), interval, lon, lat


def write_city(city: City, path: Path) -> None:
    path.write_bytes(to_geojson(city))


def read_city(path: Path) -> City:
    """Return the city in ``path``; raise ConfigurationError where that cannot be."""
    try:
        return from_geojson(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"city model {path}: {error.strerror}") from error
