"""A slow, obvious account of what final windows must hold, written without the engine."""

from __future__ import annotations

from collections import defaultdict
from statistics import harmonic_mean

from civicstream.city import City

Reading = tuple[str, str, int, dict[str, float], int]
"""Area, sensor, ts, measures, ingested_at."""

Kept = dict[tuple[str, str, int], Reading]
"""(area, sensor, ts) -> the reading that counts."""


def windows_of(
    readings: list[Reading], size_ms: int
) -> dict[int, dict[tuple[str, str, int], Reading]]:
    """Return window start -> (area, sensor, ts) -> the reading that counts."""
    windows: dict[int, dict[tuple[str, str, int], Reading]] = defaultdict(dict)
    for reading in readings:
        area, sensor, ts, _, ingested_at = reading
        kept = windows[ts // size_ms * size_ms]
        known = kept.get((area, sensor, ts))
        if known is None or ingested_at >= known[4]:
            kept[area, sensor, ts] = reading
    return windows


def traffic_of(readings: list[Reading], city: City) -> dict[str, dict[str, float | None]]:
    """Return segment -> measures, by plain loops over one window's distinct readings."""
    place = {}
    for i, sensor in enumerate(city.sensors.ids):
        area = city.areas[city.sensors.area[i]].id
        place[area, sensor] = (city.segments[city.sensors.segment[i]], int(city.sensors.lane[i]))
    by_segment = defaultdict(list)
    for area, sensor, _, measures, _ in readings:
        segment, lane = place[area, sensor]
        by_segment[segment.id].append((sensor, lane, measures))
    return {
        segment.id: _segment(by_segment[segment.id], segment.lanes, segment.free_flow_kmh)
        for segment in city.segments
        if segment.id in by_segment
    }


def _segment(
    rows: list[tuple[str, int, dict[str, float]]], lanes: int, free_flow_kmh: float
) -> dict[str, float | None]:
    counted: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    covered = {}
    speeds: list[float] = []
    for sensor, lane, m in rows:
        counted[sensor] += m["intensity"]
        seconds[sensor] += m["period"]
        covered[sensor] = lanes if lane == 0 else 1
        if "averageVehicleSpeed" in m:
            # Whole vehicles only in these tests: one entry a vehicle makes the means plain.
            speeds += [max(m["averageVehicleSpeed"], 1.0)] * int(m["intensity"])
    width = sum(covered.values())
    per_lane = sum(3600 * counted[s] / seconds[s] for s in counted) / width
    space_mean = harmonic_mean(speeds) if speeds else None
    occupied = [(m["occupancy"], m["period"]) for _, _, m in rows if "occupancy" in m]
    ordered = sorted(speeds)
    return {
        "vehicles": sum(counted.values()) / width * lanes,
        "flow_veh_h": per_lane * lanes,
        "time_mean_speed_kmh": sum(speeds) / len(speeds) if speeds else None,
        "space_mean_speed_kmh": space_mean,
        "p85_speed_kmh": ordered[-(-85 * len(ordered) // 100) - 1] if ordered else None,
        "occupancy": (
            sum(o * p for o, p in occupied) / sum(p for _, p in occupied) if occupied else None
        ),
        "travel_time_index": free_flow_kmh / space_mean if space_mean else None,
        "readings": len(rows),
    }
