"""What happened in a simulation, on disk while it happens: incidents, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from civicstream.city import City
from sensors_sim.incidents import Incident
from sensors_sim.sensor_faults import BrokenSensor

__all__ = ["EVENT_FILES", "EventTruth"]

_INCIDENTS, _SPAN, _BROKEN = "incidents.json", "span.json", "sensor_faults.json"
EVENT_FILES = (_INCIDENTS, _SPAN, _BROKEN)


class EventTruth:
    """Keeps ``incidents.json`` and ``span.json`` (``start_ms``, ``end_ms`` of event time) true.

    A reader at any moment finds whole files: they are replaced, never written over.
    """

    def __init__(self, city: City, folder: Path) -> None:
        self._city = city
        self._folder = folder
        self._noted: int | None = None

    def happened(self, start_ms: int, end_ms: int, incidents: Sequence[Incident]) -> None:
        """Write that event time has gone from ``start_ms`` to ``end_ms`` with these incidents.

        ``incidents`` are all so far, in order of their beginning.
        """
        if self._noted != len(incidents):
            self._replace(_INCIDENTS, [self._row(incident) for incident in incidents])
            self._noted = len(incidents)
        self._replace(_SPAN, {"start_ms": start_ms, "end_ms": end_ms})

    def breaks(self, broken: Sequence[BrokenSensor]) -> None:
        """Write which sensors break, how and when (``sensor_faults.json``)."""
        sensors, areas = self._city.sensors, self._city.areas
        rows = [
            asdict(one)
            | {
                "sensor": sensors.ids[one.sensor],
                "sensor_key": int(self._city.sensor_keys[one.sensor]),
                "kind": sensors.kind_names[sensors.kind[one.sensor]],
                "area": areas[sensors.area[one.sensor]].id,
            }
            for one in broken
        ]
        self._replace(_BROKEN, rows)

    def _row(self, incident: Incident) -> dict[str, Any]:
        segment = self._city.segments[incident.segment]
        place = {"segment": segment.id, "area": segment.area, "corridor": segment.corridor}
        return asdict(incident) | place

    def _replace(self, name: str, content: Any) -> None:
        fresh = self._folder / f".{name}.new"
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(content)))
        fresh.replace(self._folder / name)
