"""The city model as GeoJSON (RFC 7946), out and in.

One FeatureCollection: areas are Polygons, segments LineStrings, sensors Points; ``feature``
in the properties says which.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from civicstream.city import Area, City, Point, Segment, Sensors
from civicstream.errors import ConfigurationError

__all__ = ["from_geojson", "read_city", "to_geojson", "write_city"]


def to_geojson(city: City) -> bytes:
    """Return the city as a GeoJSON FeatureCollection."""
    features = [
        _feature("area", "Polygon", [a.outline], {"id": a.id, "name": a.name}) for a in city.areas
    ]
    features += [_segment_feature(segment) for segment in city.segments]
    features += _sensor_features(city)
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


def _sensor_features(city: City) -> Iterator[Any]:
    s = city.sensors
    areas = [area.id for area in city.areas]
    columns = (s.kind, s.area, s.segment, s.lane, s.interval_s, s.lon, s.lat)
    for identity, kind, area, segment, lane, interval_s, lon, lat in zip(
        s.ids, *(column.tolist() for column in columns), strict=True
    ):
        properties: dict[str, Any] = {
            "id": identity,
            "kind": Sensors.kind_names[kind],
            "area": areas[area],
            "interval_s": interval_s,
        }
        if segment >= 0:
            properties |= {"segment": city.segments[segment].id, "lane": lane}
        yield _feature("sensor", "Point", (lon, lat), properties)


class _Collection(msgspec.Struct):
    features: list[msgspec.Raw]


class _Tag(msgspec.Struct, gc=False):
    feature: Literal["area", "segment", "sensor"]


class _Tagged(msgspec.Struct, gc=False):
    properties: _Tag


class _Place(msgspec.Struct, gc=False):
    coordinates: list[float]


class _SensorProperties(msgspec.Struct, gc=False):
    id: str
    kind: str
    area: str
    interval_s: float = 60
    segment: str | None = None
    lane: int = 0


class _Sensor(msgspec.Struct, gc=False):
    geometry: _Place
    properties: _SensorProperties


_decode_tag = msgspec.json.Decoder(_Tagged).decode
_decode_sensor = msgspec.json.Decoder(_Sensor).decode


def from_geojson(document: bytes) -> City:
    """Return the city in a GeoJSON document; raise ConfigurationError naming what is wrong.

    Sensors go straight into columns: a million of them as dictionaries would take gigabytes.
    """
    try:
        features = msgspec.json.decode(document, type=_Collection).features
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"city model: not a GeoJSON FeatureCollection: {error}") from error
    grouped: dict[str, list[Any]] = {"area": [], "segment": []}
    sensors: list[int] = []
    for number, raw in enumerate(features):
        if _what(raw, number) == "sensor":
            sensors.append(number)
        else:
            feature = msgspec.json.decode(raw)
            grouped[feature["properties"]["feature"]].append(feature)
    areas = tuple(_checked(_area, f) for f in grouped["area"])
    segments = tuple(_checked(_segment, f) for f in grouped["segment"])
    columns = _SensorColumns(
        {a.id: i for i, a in enumerate(areas)}, {s.id: i for i, s in enumerate(segments)}
    )
    for number in sensors:
        columns.add(features[number])
    return City(areas, segments, columns.sensors())


def _what(feature: msgspec.Raw, number: int) -> str:
    try:
        return _decode_tag(feature).properties.feature
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"city model: feature {number} needs a property 'feature' that is "
            "area, segment or sensor"
        ) from error


class _SensorColumns:
    """Sensors as columns of plain numbers while they are read one by one."""

    def __init__(self, area_index: dict[str, int], segment_index: dict[str, int]) -> None:
        self._area_index = area_index
        self._segment_index = segment_index
        self._kind_index = {name: i for i, name in enumerate(Sensors.kind_names)}
        self._ids: list[str] = []
        self._columns: list[array[Any]] = [array(code) for code in "hiihddd"]

    def add(self, feature: msgspec.Raw) -> None:
        identity, *values = self._row(feature)
        self._ids.append(identity)
        try:
            for column, value in zip(self._columns, values, strict=True):
                column.append(value)
        except (TypeError, OverflowError) as error:
            raise ConfigurationError(f"city model: sensor {identity!r}: {error}") from error

    def _row(self, feature: msgspec.Raw) -> tuple[str, int, int, int, int, float, float, float]:
        try:
            sensor = _decode_sensor(feature)
            p, place = sensor.properties, sensor.geometry.coordinates
            segment = self._segment_index[p.segment] if p.segment else -1
            kind, area = self._kind_index[p.kind], self._area_index[p.area]
            return p.id, kind, area, segment, p.lane, p.interval_s, place[0], place[1]
        except (msgspec.ValidationError, LookupError):
            # The slower way is more patient, and says what is wrong.
            found: tuple[str, int, int, int, int, float, float, float] = _checked(
                _sensor_row, msgspec.json.decode(feature), self._area_index, self._segment_index
            )
            return found

    def sensors(self) -> Sensors:
        kind, area, segment, lane, interval_s, lon, lat = self._columns
        return Sensors(
            ids=self._ids,
            kind=np.array(kind, np.int16),
            area=np.array(area, np.int32),
            segment=np.array(segment, np.int32),
            lane=np.array(lane, np.int16),
            interval_s=np.array(interval_s, np.float64),
            lon=np.array(lon, np.float64),
            lat=np.array(lat, np.float64),
        )


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
    if p["kind"] not in Sensors.kind_names:
        raise ValueError(f"kind {p['kind']!r} is none of {', '.join(Sensors.kind_names)}")
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
