"""Traffic detectors: what a loop in the road counts, from the traffic that passes over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS
from sensors_sim.road_traffic import SegmentState

__all__ = ["Detectors"]

Floats = NDArray[np.float64]

VEHICLE_AND_LOOP_M = 6.5
"""Effective length: a vehicle of 4.5 m occupies a loop of 2 m (Hall 1992)."""

_SPEED_NOISE = 0.08
"""Standard deviation of one vehicle's speed, as a share of the mean."""

_LANE_SPEED_STEP = 0.05
"""Each lane further from the median is this share slower."""


class Detectors:
    """The detectors of a city, found by their index among all its sensors."""

    def __init__(self, city: City) -> None:
        sensors = city.sensors
        detectors = sensors.kind == sensors.kind_names.index("traffic")
        lost = np.flatnonzero(detectors & (sensors.segment < 0))
        if len(lost):
            raise ConfigurationError(
                f"city model: traffic sensor {sensors.ids[lost[0]]!r} has no segment; "
                "give it one to simulate what it counts"
            )
        self._segment = np.maximum(sensors.segment, 0).astype(np.intp)
        # A city without segments has no detectors either, only sensors that look up lane 1.
        lanes = np.array([s.lanes for s in city.segments] or [1], np.float64)[self._segment]
        self._lane = sensors.lane.astype(np.float64)
        one_lane = self._lane > 0
        self._lanes_covered = np.where(one_lane, 1.0, lanes)
        self._share = np.where(one_lane, 1 / lanes, 1.0)
        from_middle = np.where(one_lane, (lanes + 1) / 2 - self._lane, 0.0)
        self._speed_factor = 1 + _LANE_SPEED_STEP * from_middle

    def measure(
        self,
        detector: NDArray[np.intp],
        period_s: Floats,
        state: SegmentState,
        rng: np.random.Generator,
    ) -> Floats:
        """Return float64[5, n] in the order of the kind's measures.

        ``detector`` [n] indexes the city's sensors. The count is Poisson around the flow; the
        speed is the mean over the counted vehicles, NaN when there were none (as real
        detectors send nothing then); occupancy follows from count, length and speed.
        """
        segment = self._segment[detector]
        expected = state.flow_veh_h[segment] * self._share[detector] * period_s / 3600
        count = rng.poisson(np.maximum(expected, 0.0)).astype(np.float64)
        mean = np.maximum(state.speed_kmh[segment] * self._speed_factor[detector], 2.0)
        noise = rng.standard_normal(len(detector)) * _SPEED_NOISE / np.sqrt(np.maximum(count, 1))
        speed = np.clip(mean * (1 + noise), 1.0, 250.0)
        metres = count / self._lanes_covered[detector] * VEHICLE_AND_LOOP_M
        occupancy = np.minimum(metres / (speed / 3.6) / period_s, 1.0)
        measures = {
            "intensity": count,
            "averageVehicleSpeed": np.where(count > 0, np.round(speed, 1), np.nan),
            "occupancy": np.round(occupancy, 4),
            "period": period_s,
            "lane": self._lane[detector],
        }
        return np.stack([measures[name] for name in KINDS["traffic"].measure_names])
