"""The city model: areas, road segments in order of travel, and sensors with their place.

Segments and areas are objects; sensors are columns, because there may be a million of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS, sensor_key

__all__ = ["Area", "City", "Point", "RoadClass", "Segment", "Sensors"]

Point = tuple[float, float]
"""Longitude, latitude [degrees, WGS 84]."""

RoadClass = Literal["freeway", "street"]


@dataclass(frozen=True)
class Area:
    """A district: the unit of partitioning, of results and of alerts."""

    id: str
    name: str
    outline: tuple[Point, ...]
    """Closed ring."""


@dataclass(frozen=True)
class Segment:
    """A directed piece of road; ``position`` is its order along ``corridor`` from upstream."""

    id: str
    area: str
    corridor: str
    position: int
    road_class: RoadClass
    lanes: int
    length_m: float
    free_flow_kmh: float
    line: tuple[Point, ...]
    upstream: tuple[str, ...] = ()
    downstream: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sensors:
    """Sensors as columns of equal length n; ``segment`` is an index into City.segments or -1."""

    ids: list[str]
    kind: NDArray[np.int16]
    """Index into ``kind_names``."""
    area: NDArray[np.int32]
    """Index into City.areas."""
    segment: NDArray[np.int32]
    lane: NDArray[np.int16]
    """Lane from the median, 0 for all lanes."""
    interval_s: NDArray[np.float64]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]

    kind_names = tuple(KINDS)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def empty(cls) -> Sensors:
        return cls.from_rows([])

    @classmethod
    def from_rows(cls, rows: list[tuple[str, int, int, int, int, float, float, float]]) -> Sensors:
        """Build from rows of (id, kind, area, segment, lane, interval_s, lon, lat)."""
        ids, kind, area, segment, lane, interval, lon, lat = (
            zip(*rows, strict=True) if rows else ((),) * 8
        )
        return cls(
            ids=list(ids),
            kind=np.array(kind, np.int16),
            area=np.array(area, np.int32),
            segment=np.array(segment, np.int32),
            lane=np.array(lane, np.int16),
            interval_s=np.array(interval, np.float64),
            lon=np.array(lon, np.float64),
            lat=np.array(lat, np.float64),
        )


@dataclass(frozen=True)
class City:
    """Areas, segments and sensors, checked against each other when built."""

    areas: tuple[Area, ...] = ()
    segments: tuple[Segment, ...] = ()
    sensors: Sensors = field(default_factory=Sensors.empty)

    def __post_init__(self) -> None:
        _check_unique("area", [a.id for a in self.areas])
        _check_unique("segment", [s.id for s in self.segments])
        for segment in self.segments:
            if segment.area not in self.area_index:
                raise ConfigurationError(
                    f"city model: segment {segment.id!r} is in area {segment.area!r}, "
                    "which is not among the areas"
                )
            for other in (*segment.upstream, *segment.downstream):
                if other not in self.segment_index:
                    raise ConfigurationError(
                        f"city model: segment {segment.id!r} is joined to {other!r}, "
                        "which is not among the segments"
                    )
        if len(np.unique(self.sensor_keys)) != len(self.sensors):
            raise ConfigurationError(
                "city model: two sensors share kind, area and id; each must be unique"
            )
        self._check_detectors()

    def _check_detectors(self) -> None:
        """Raise where a segment's detectors are not all in its area.

        An area is a partition: of such a segment, or of others with the same area, two partitions
        would each publish a part under one id, and all of them would be wrong.
        """
        s = self.sensors
        detectors = np.flatnonzero((s.kind == s.kind_names.index("traffic")) & (s.segment >= 0))
        home = np.array([self.area_index[segment.area] for segment in self.segments], np.int32)
        strange = detectors[s.area[detectors] != home[s.segment[detectors]]]
        if not len(strange):
            return
        found = int(strange[0])
        segment = self.segments[s.segment[found]]
        area = self.areas[s.area[found]].id
        same = detectors[s.segment[detectors] == s.segment[found]]
        others = [int(i) for i in same if s.area[i] != s.area[found]]
        beside = "".join(
            f", beside detector {s.ids[i]!r} in area {self.areas[s.area[i]].id!r}"
            for i in others[:1]
        )
        raise ConfigurationError(
            f"city model: segment {segment.id!r} of area {segment.area!r} has detector "
            f"{s.ids[found]!r} in area {area!r}{beside} ({len(strange)} such detectors in all); "
            "give a segment and its detectors one area, or split the segment where the areas meet"
        )

    @cached_property
    def area_index(self) -> dict[str, int]:
        return {area.id: i for i, area in enumerate(self.areas)}

    @cached_property
    def segment_index(self) -> dict[str, int]:
        return {segment.id: i for i, segment in enumerate(self.segments)}

    @cached_property
    def sensor_keys(self) -> NDArray[np.int64]:
        """int64[n]: ``kinds.sensor_key`` of every sensor, in the sensors' order."""
        s, names = self.sensors, Sensors.kind_names
        area_ids = [area.id for area in self.areas]
        keys = (
            sensor_key(names[k], area_ids[a], i)
            for i, k, a in zip(s.ids, s.kind.tolist(), s.area.tolist(), strict=True)
        )
        return np.fromiter(keys, np.int64, count=len(s))

    @cached_property
    def _key_order(self) -> NDArray[np.intp]:
        return np.argsort(self.sensor_keys)

    @cached_property
    def _sorted_keys(self) -> NDArray[np.int64]:
        return self.sensor_keys[self._key_order]

    def find_sensors(self, keys: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the index of each key's sensor, -1 where the city does not know it."""
        if not len(self.sensors):
            return np.full(len(keys), -1, np.intp)
        at = np.searchsorted(self._sorted_keys, keys).clip(max=len(self.sensors) - 1)
        return np.where(self._sorted_keys[at] == keys, self._key_order[at], -1)


def _check_unique(what: str, ids: list[str]) -> None:
    if len(set(ids)) != len(ids):
        twice = next(i for n, i in enumerate(ids) if i in ids[:n])
        raise ConfigurationError(f"city model: {what} {twice!r} appears twice")
