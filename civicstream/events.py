"""The JSON events that people and other systems consume, one msgspec struct each.

Times are epoch milliseconds. A value that could not be computed is null, never zero.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Counts",
    "DeadLetter",
    "EnvironmentResult",
    "EnvironmentRow",
    "LedgerReport",
    "Status",
    "TrafficResult",
    "TrafficRow",
]

Status = Literal["provisional", "final"]


class TrafficRow(msgspec.Struct, frozen=True):
    """One road segment in one window. Formulas and sources: ``streams/traffic.py``."""

    segment: str
    readings: int
    vehicles: float
    flow_veh_h: float
    time_mean_speed_kmh: float | None
    space_mean_speed_kmh: float | None
    p85_speed_kmh: float | None
    occupancy: float | None
    density_veh_km_lane: float | None
    level_of_service: str | None
    travel_time_index: float | None
    coverage: float
    """Share of the segment's expected sensors that reported, 0..1."""


class TrafficResult(msgspec.Struct, frozen=True):
    """Traffic of one area in one window; key: area."""

    area: str
    window_start: int
    window_end: int
    status: Status
    computed_at: int
    segments: list[TrafficRow]


class EnvironmentRow(msgspec.Struct, frozen=True):
    """One measure of one kind over an area's sensors."""

    measure: str
    readings: int
    sensors: int
    mean: float
    min: float
    max: float
    p95: float


class EnvironmentResult(msgspec.Struct, frozen=True):
    """One non-traffic kind of one area in one window; key: area."""

    kind: str
    area: str
    window_start: int
    window_end: int
    status: Status
    computed_at: int
    readings: int
    sensors: int
    measures: list[EnvironmentRow]


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something a stage could not accept, with the bytes it came as.

    ``count`` readings were rejected; of an array only the bad members (``members``: index and
    sentence of the first of them). ``payload`` is base64 in JSON and cut to its first 4 KiB
    (``payload_bytes`` is its true size) when it is over the size limit.
    """

    stage: str
    reason: str
    detail: str
    topic: str
    received_at: int
    payload: bytes
    payload_bytes: int
    kind: str | None = None
    instance: str | None = None
    count: int = 1
    members: list[tuple[int, str]] = []
    partition: int | None = None
    offset: int | None = None


class Counts(msgspec.Struct):
    """Cumulative counts of readings: received = the sum of the others, always."""

    received: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    late: int = 0
    in_flight: int = 0

    @property
    def imbalance(self) -> int:
        """Readings that are unaccounted for; zero unless there is a defect."""
        return self.received - (
            self.accepted + self.rejected + self.duplicate + self.late + self.in_flight
        )


class LedgerReport(msgspec.Struct, frozen=True):
    """What one process has done since ``epoch`` (its start, ms); sent about every second.

    ``kinds`` counts readings per kind; ``gauges`` are other figures for people, e.g.
    ``windows_closed``, ``rows_written``, ``lag_records``. Key: stage/instance/epoch.
    """

    stage: Literal["gateway", "worker", "sink"]
    instance: str
    epoch: int
    at: int
    kinds: dict[str, Counts]
    gauges: dict[str, float] = {}

    @property
    def key(self) -> str:
        return f"{self.stage}/{self.instance}/{self.epoch}"
