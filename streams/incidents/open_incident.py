"""An incident while it is open, and the versions of it that are published."""

from __future__ import annotations

import msgspec

from civicstream.events import Incident, IncidentState
from streams.windows.network import RoadNetwork

__all__ = ["OpenIncident"]

_SOONEST_MS = 2 * 60_000
"""Between versions of the same state: figures of single minutes are mostly noise."""
_LATEST_MS = 10 * 60_000
"""After this time a version is due if anything changed at all."""


class Published(msgspec.Struct):
    """What the last version said."""

    at: int = 0
    state: str = ""
    severity: float = 0.0
    queue_m: float = 0.0
    delay_veh_h: float = 0.0


class OpenIncident(msgspec.Struct):
    """What is known of one incident; ``upstream`` and ``downstream`` are segment indices."""

    id: str
    upstream: int
    downstream: int
    first_evidence: int
    last_evidence: int
    estimated_start: int
    flow_before: float | None
    state: IncidentState = "suspected"
    version: int = 0
    confirmed_at: int = 0
    quiet_since: int = 0
    """End of the first window without evidence after the last with, 0 while there is some."""
    discharge: float | None = None
    """Smoothed flow downstream [veh/h]."""
    severity: float = 0.0
    confidence: float = 0.0
    position: float = 0.5
    queue_m: float = 0.0
    delay_veh_h: float = 0.0
    published: Published = msgspec.field(default_factory=Published, name="told")
    """Stored by the name that older checkpoints have."""

    def worth_a_version(self, end: int) -> bool:
        """Whether what changed since the last version is worth a new one."""
        published = self.published
        if self.state != published.state:
            return True
        since = end - published.at
        if self.state in {"suspected", "cleared"} or since < _SOONEST_MS:
            return False
        severity = abs(self.severity - published.severity)
        queue = abs(self.queue_m - published.queue_m)
        delay = self.delay_veh_h - published.delay_veh_h
        if since >= _LATEST_MS:
            return severity > 0.01 or queue > 1 or delay > 0.1
        return (
            severity > 0.1
            or queue > max(250.0, 0.25 * published.queue_m)
            or delay > max(5.0, 0.25 * published.delay_veh_h)
        )

    def publish(
        self, network: RoadNetwork, algorithm: str, end: int, computed_at: int, segment: int
    ) -> Incident:
        """Return the next version."""
        self.version += 1
        self.published = Published(end, self.state, self.severity, self.queue_m, self.delay_veh_h)
        return Incident(
            id=self.id,
            version=self.version,
            state=self.state,
            algorithm=algorithm,
            area=network.areas[segment],
            corridor=network.city.segments[segment].corridor,
            segment=network.ids[segment],
            upstream_segment=network.ids[self.upstream],
            downstream_segment=network.ids[self.downstream],
            position=round(self.position, 3),
            severity=round(self.severity, 3),
            confidence=round(self.confidence, 3),
            estimated_start=self.estimated_start,
            first_evidence=self.first_evidence,
            last_evidence=self.last_evidence,
            delay_veh_h=round(self.delay_veh_h, 3),
            queue_m=round(self.queue_m, 1),
            window_end=end,
            computed_at=computed_at,
        )
