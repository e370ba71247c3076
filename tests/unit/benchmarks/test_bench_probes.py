"""Probes are ordinary detectors: in the city's areas, on segments of their own."""

from __future__ import annotations

from pathlib import Path

from benchmarks.probes import SEGMENT, SENSOR, probe_areas, with_probes
from benchmarks.workload import traffic_city
from civicstream.geojson import read_city, write_city
from civicstream.kinds import sensor_key
from civicstream.partitioning import partition_of

CITY = traffic_city(5_000)


def test_there_is_a_probe_for_every_partition_with_traffic() -> None:
    areas = probe_areas(CITY, partitions=8)
    everywhere = {partition_of(area.id, 8) for area in CITY.areas}
    assert sorted(partition_of(area, 8) for area in areas) == sorted(everywhere)


def test_a_probe_has_its_segment_and_changes_nothing_else(tmp_path: Path) -> None:
    areas = probe_areas(CITY, partitions=8)
    write_city(with_probes(CITY, areas), tmp_path / "city.geojson")
    city = read_city(tmp_path / "city.geojson")
    assert city.segments[: len(CITY.segments)] == CITY.segments
    assert city.sensors.ids[:5_000] == CITY.sensors.ids
    for area in areas:
        key = sensor_key("traffic", area, SENSOR)
        index = int(city.sensor_keys.tolist().index(key))
        segment = city.segments[int(city.sensors.segment[index])]
        assert segment.id == SEGMENT.format(area=area)
        assert segment.area == area
