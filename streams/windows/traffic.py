"""Traffic measures per road segment from the detector readings of one window.

Detectors report counts n_i over periods T_i with the interval's mean speed v_i and occupancy
o_i. A detector covers one lane (``lane`` > 0) or the whole cross-section. Per segment:

- flow per lane [veh/h/lane]: the sum over detectors of 3600·Σn/ΣT divided by the lanes they
  cover, so that redundant detectors average and missing lanes are taken as the others;
- flow [veh/h] and vehicles: that times the lanes;
- time-mean speed [km/h]: Σ n v / Σ n; space-mean speed: Σ n / Σ (n / v), the harmonic mean
  (Wardrop 1952; Edie 1963);
- occupancy: Σ T o / Σ T;
- density [veh/km/lane]: flow per lane / space-mean speed (q = k v), or, where nothing passed,
  occupancy / effective vehicle length;
- 85th percentile of the interval mean speeds, weighted by count;
- travel time index: free-flow speed / space-mean speed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City, Sensors
from civicstream.events import TrafficRow
from streams.windows.grouping import present_groups, weighted_percentile
from streams.windows.level_of_service import freeway_level_of_service, street_level_of_service
from streams.windows.windows import Columns

__all__ = ["SegmentMeasures", "SegmentTable", "segment_measures"]

Floats = NDArray[np.float64]

# A detector that reports 0 km/h while vehicles pass has rounded down; a harmonic mean with a
# zero in it would call the whole segment stopped.
_SLOWEST_KMH = 1.0

# Vehicle plus detection zone, 22 ft: the g-factor PeMS falls back on (Jia et al. 2001).
_EFFECTIVE_VEHICLE_LENGTH_M = 6.7

_STATISTICS = TrafficRow.__struct_fields__[1:]
"""The first field is the segment."""

_TRAFFIC = Sensors.kind_names.index("traffic")


class SegmentTable:
    """What the city model says of segments and of the detectors on them, as arrays."""

    def __init__(self, city: City) -> None:
        segments = city.segments
        self.city = city
        self.ids = [s.id for s in segments]
        self.areas = [s.area for s in segments]
        self.lanes = np.array([s.lanes for s in segments], np.float64)
        self.free_flow_kmh = np.array([s.free_flow_kmh for s in segments], np.float64)
        self.is_freeway = np.array([s.road_class == "freeway" for s in segments], bool)
        self.segment_of_sensor = np.append(city.sensors.segment, -1)
        """Index of each sensor's segment; the last, found by index -1, is that of unknown ones."""
        placed = (city.sensors.kind == _TRAFFIC) & (city.sensors.segment >= 0)
        self.expected_sensors = np.bincount(
            city.sensors.segment[placed], minlength=len(segments)
        ).astype(np.float64)


@dataclass(frozen=True)
class SegmentMeasures:
    """Arrays over the segments that had readings, ``segment`` their indices; NaN: unknown.

    The statistics have the names of the fields of ``TrafficRow``.
    """

    table: SegmentTable
    segment: NDArray[np.intp]
    readings: NDArray[np.int64]
    vehicles: Floats
    flow_veh_h: Floats
    time_mean_speed_kmh: Floats
    space_mean_speed_kmh: Floats
    p85_speed_kmh: Floats
    occupancy: Floats
    density_veh_km_lane: Floats
    level_of_service: NDArray[np.str_]
    travel_time_index: Floats
    coverage: Floats
    unplaced_readings: int
    """Readings of detectors that the city model places on no segment."""

    def rows_by_area(self) -> dict[str, list[TrafficRow]]:
        """Return the result rows, grouped by the segments' area."""
        rows: dict[str, list[TrafficRow]] = {}
        for area, row in self._rows():
            rows.setdefault(area, []).append(row)
        return rows

    def _rows(self) -> Iterator[tuple[str, TrafficRow]]:
        segments = self.segment.tolist()
        columns = [[self.table.ids[s] for s in segments]]
        columns += [_listed(getattr(self, name)) for name in _STATISTICS]
        for segment, *fields in zip(segments, *columns, strict=True):
            yield self.table.areas[segment], TrafficRow(*fields)


def _listed(values: NDArray[Any]) -> list[Any]:
    """Return Python values: floats to six decimals, None for NaN and for an empty text."""
    if values.dtype.kind == "f":
        return _rounded(values)
    listed: list[Any] = values.tolist()
    return [value or None for value in listed] if values.dtype.kind == "U" else listed


def _rounded(values: Floats) -> list[float | None]:
    """Return Python floats to six decimals, None for NaN."""
    rounded: list[float] = np.round(values, 6).tolist()
    return [None if math.isnan(v) else v for v in rounded]


def _sum(group: NDArray[np.intp], weight: Floats, groups: int) -> Floats:
    return np.bincount(group, weight, groups).astype(np.float64, copy=False)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return the quotient, NaN where the denominator is not above zero."""
    quotient: Floats = np.divide(
        numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0
    )
    return quotient


def segment_measures(readings: Columns, table: SegmentTable) -> SegmentMeasures:
    """Return the traffic measures of every segment with readings in ``readings``.

    ``readings`` must be deduplicated. The result does not depend on their order, beyond the
    rounding of sums.
    """
    sensor = table.city.find_sensors(readings.sensor_key)
    segment = table.segment_of_sensor[sensor]
    placed = segment >= 0
    unplaced = int(len(placed) - placed.sum())
    if unplaced:
        readings, sensor, segment = readings.take(placed), sensor[placed], segment[placed]
    present, group = present_groups(segment, len(table.ids))
    n = len(present)
    m = readings.measures
    count, period, speed = m["intensity"], m["period"], m["averageVehicleSpeed"]
    lanes = table.lanes[present]
    per_lane, vehicles, reporting = _flow_per_lane(table, sensor, count, period, present)

    passed = (count > 0) & ~np.isnan(speed)
    g, c, v = group[passed], count[passed], np.maximum(speed[passed], _SLOWEST_KMH)
    counted = _sum(g, c, n)
    space_mean = _ratio(counted, _sum(g, c / v, n))
    measured = ~np.isnan(m["occupancy"])
    occupancy = _ratio(
        _sum(group[measured], (period * m["occupancy"])[measured], n),
        _sum(group[measured], period[measured], n),
    )
    density = _density(per_lane, space_mean, occupancy)
    free_flow = table.free_flow_kmh[present]
    return SegmentMeasures(
        table=table,
        segment=present,
        readings=np.bincount(group, minlength=n),
        vehicles=vehicles * lanes,
        flow_veh_h=per_lane * lanes,
        time_mean_speed_kmh=_ratio(_sum(g, c * v, n), counted),
        space_mean_speed_kmh=space_mean,
        p85_speed_kmh=weighted_percentile(g, v, c, n, 0.85),
        occupancy=occupancy,
        density_veh_km_lane=density,
        level_of_service=np.where(
            table.is_freeway[present],
            freeway_level_of_service(density),
            street_level_of_service(space_mean / free_flow),
        ),
        travel_time_index=free_flow / space_mean,
        coverage=np.minimum(reporting / table.expected_sensors[present], 1.0),
        unplaced_readings=unplaced,
    )


def _flow_per_lane(
    table: SegmentTable,
    sensor: NDArray[np.intp],
    count: Floats,
    period: Floats,
    present: NDArray[np.intp],
) -> tuple[Floats, Floats, Floats]:
    """Return flow per lane [veh/h/lane], vehicles per lane and detectors reporting, by segment."""
    detectors, of = present_groups(sensor, len(table.city.sensors))
    on = table.segment_of_sensor[detectors]
    segment_of = np.searchsorted(present, on)
    counted = _sum(of, count, len(detectors))
    hours = _sum(of, period, len(detectors)) / 3600
    whole = table.city.sensors.lane[detectors] == 0
    covered = np.where(whole, table.lanes[on], 1.0)
    n = len(present)
    lanes_covered = _sum(segment_of, covered, n)
    flow = _sum(segment_of, counted / hours, n) / lanes_covered
    vehicles = _sum(segment_of, counted, n) / lanes_covered
    return flow, vehicles, np.bincount(segment_of, minlength=n).astype(np.float64)


def _density(per_lane: Floats, space_mean: Floats, occupancy: Floats) -> Floats:
    """Return veh/km/lane from flow and speed, else from occupancy, else 0 on an empty road."""
    from_occupancy = occupancy * 1000 / _EFFECTIVE_VEHICLE_LENGTH_M
    without_speed = np.where(np.isnan(occupancy) & (per_lane == 0), 0.0, from_occupancy)
    return np.where(np.isnan(space_mean), without_speed, per_lane / space_mean)
