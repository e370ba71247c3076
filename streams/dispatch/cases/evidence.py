"""What sensors and the road say near a place: evidence that may confirm a report.

Types: ``incident`` (traffic hardly passes), and ``<kind>.<measure>.high`` or ``.low`` for a
measurement that is unusual for its sensor. A service type names those that confirm it.
"""

from __future__ import annotations

import msgspec
import numpy as np

from civicstream.city import City, Segment
from civicstream.events import Anomaly, Incident
from civicstream.service_events import BinForecast

__all__ = ["Evidence", "EvidenceReader"]

_FULL_BIN = 0.85
"""Filled share at which people find a container full."""


class Evidence(msgspec.Struct, frozen=True):
    """Something that holds around a place from ``since`` on, until it is said to have ended."""

    id: str
    """The same for all that is said of it."""
    source: str
    """What says so, for people: ``incident/<id>`` or ``<kind>/<area>/<sensor>``."""
    type: str
    lon: float
    lat: float
    reach_m: float
    since: int
    last_seen: int
    ended: bool


class EvidenceReader:
    """Puts incidents and anomalies in their place on the map."""

    def __init__(self, city: City, reach_m: float) -> None:
        self._city = city
        self._reach_m = reach_m

    def of_incident(self, incident: Incident) -> Evidence | None:
        """Return the evidence, None for a mere suspicion or a segment the city does not know."""
        index = self._city.segment_index.get(incident.segment)
        if index is None or incident.state == "suspected":
            return None
        segment = self._city.segments[index]
        lon, lat = _middle(segment)
        return Evidence(
            id=f"incident/{incident.id}",
            source=f"incident/{incident.id}",
            type="incident",
            lon=lon,
            lat=lat,
            reach_m=self._reach_m + segment.length_m / 2,
            since=incident.estimated_start,
            last_seen=incident.last_evidence,
            ended=incident.state == "cleared",
        )

    def of_anomaly(self, anomaly: Anomaly) -> Evidence | None:
        """Return the evidence, None for a sensor the city does not know."""
        index = int(self._city.find_sensors(np.array([anomaly.sensor_key], np.int64))[0])
        if index < 0:
            return None
        sensors = self._city.sensors
        side = "high" if anomaly.value >= anomaly.expected else "low"
        return Evidence(
            id=f"anomaly/{anomaly.id}",
            source=f"{anomaly.kind}/{anomaly.area}/{sensors.ids[index]}",
            type=f"{anomaly.kind}.{anomaly.measure}.{side}",
            lon=float(sensors.lon[index]),
            lat=float(sensors.lat[index]),
            reach_m=self._reach_m,
            since=anomaly.started_at,
            last_seen=anomaly.last_at,
            ended=anomaly.state == "closed",
        )

    def of_bin(self, forecast: BinForecast) -> Evidence | None:
        """Return the evidence of a container that is (or was) full, None without a place."""
        if forecast.lon is None or forecast.lat is None:
            return None
        return Evidence(
            id=f"bin/{forecast.sensor_key}",
            source=f"waste/{forecast.area}/{forecast.sensor}",
            type="waste.fillingLevel.high",
            lon=forecast.lon,
            lat=forecast.lat,
            reach_m=0.0,
            since=forecast.at,
            last_seen=forecast.at,
            ended=forecast.level < _FULL_BIN,
        )


def _middle(segment: Segment) -> tuple[float, float]:
    """Return the point half-way along the segment's line."""
    line = np.array(segment.line, np.float64)
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    half = along[-1] / 2
    return float(np.interp(half, along, line[:, 0])), float(np.interp(half, along, line[:, 1]))
