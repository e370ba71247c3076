"""The JSON events that people and other systems consume, one msgspec struct each.

Times are epoch milliseconds. A value that could not be computed is null, never zero.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Alert",
    "AlertChange",
    "AlertSeverity",
    "Anomaly",
    "Counts",
    "DeadLetter",
    "EnvironmentResult",
    "EnvironmentRow",
    "ForecastRow",
    "FrameGap",
    "Health",
    "Incident",
    "IncidentState",
    "LedgerReport",
    "ReadPosition",
    "ReadSequence",
    "SensorHealth",
    "Status",
    "TrafficForecast",
    "TrafficResult",
    "TrafficRow",
    "WrittenSequence",
]

Status = Literal["provisional", "final"]

IncidentState = Literal["suspected", "confirmed", "clearing", "cleared"]

AlertSeverity = Literal["minor", "moderate", "severe", "extreme"]
"""In rising order; the severities of CAP 1.2 (OASIS, 2010)."""

AlertChange = Literal[
    "raised", "updated", "acknowledged", "silenced", "unsilenced", "escalated", "cleared"
]

Health = Literal["ok", "stuck", "flat", "impossible", "silent", "skewed", "drifting"]


class TrafficRow(msgspec.Struct, frozen=True):
    """One road segment in one window. Formulas and sources: ``streams/windows/traffic.py``."""

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


class Incident(msgspec.Struct, frozen=True):
    """One version of an incident between two neighbouring detectors; key: area.

    Versions of one ``id`` count from 1 without gaps; the newest is what is known now. Methods
    and formulas: docs/traffic.md.
    """

    id: str
    version: int
    state: IncidentState
    algorithm: str
    area: str
    corridor: str
    segment: str
    """The segment whose capacity is lost, as far as the evidence tells."""
    upstream_segment: str
    """The detectors whose readings show it; the incident is between the two."""
    downstream_segment: str
    position: float
    """Estimated share of the way from the upstream detector to the downstream one, 0..1."""
    severity: float
    """Estimated share of the capacity that is lost, 0..1."""
    confidence: float
    estimated_start: int
    first_evidence: int
    """End of the first window that spoke for it."""
    last_evidence: int
    delay_veh_h: float
    """Vehicle-hours lost so far against the segments' usual state."""
    queue_m: float
    """Present length of the queue upstream."""
    window_end: int
    """End of the window this version follows from."""
    computed_at: int


class ForecastRow(msgspec.Struct, frozen=True):
    """One segment; every list has a value per horizon, null where nothing can be said."""

    segment: str
    speed_kmh: list[float | None]
    speed_low_kmh: list[float | None]
    speed_high_kmh: list[float | None]
    flow_veh_h: list[float | None]
    flow_low_veh_h: list[float | None]
    flow_high_veh_h: list[float | None]


class TrafficForecast(msgspec.Struct, frozen=True):
    """Speed and flow of one area's segments ahead, with 80 % intervals; key: area.

    ``made_at`` is the end of the newest window it knows; row lists follow ``horizons_min``.
    """

    area: str
    made_at: int
    horizons_min: list[int]
    computed_at: int
    segments: list[ForecastRow]


class SensorHealth(msgspec.Struct, frozen=True):
    """A change of one sensor's state of health; key: area.

    While it is not ``ok`` the sensor is left out of the results.
    """

    sensor_key: int
    kind: str
    area: str
    sensor: str | None
    """None where the city model does not have it; the table ``sensors`` does."""
    health: Health
    reason: str
    """One sentence with the measure, the value and what was expected."""
    since: int
    before: Health
    window_end: int
    computed_at: int


class Anomaly(msgspec.Struct, frozen=True):
    """One version of something unusual that a healthy sensor measures; key: area."""

    id: str
    version: int
    state: Literal["open", "closed"]
    kind: str
    area: str
    sensor_key: int
    sensor: str | None
    """None where the city model does not have it; the table ``sensors`` does."""
    measure: str
    score: float
    """The highest anomaly score so far, 0..1."""
    value: float
    """What was measured when this version was made."""
    expected: float
    low: float
    high: float
    """What is usual at that time: the 98 % interval around ``expected``."""
    started_at: int
    last_at: int
    window_end: int
    computed_at: int


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of an alert that a rule raised; key: area. Rules: docs/alerts.md.

    Versions of one ``id`` count from 1 without gaps; the newest is what is known now. At any
    moment at most one alert of a deduplication ``key`` is active.
    """

    id: str
    version: int
    state: Literal["active", "cleared"]
    change: AlertChange
    """What this version is about."""
    rule: str
    key: str
    """What it is one alert of: the rule and, say, the segment."""
    severity: AlertSeverity
    area: str
    subject: str
    """``segment/<id>``, ``incident/<id>``, ``case/<id>``, ``sensor/<key>``, ``area/<name>``, ..."""
    headline: str
    """One sentence from the rule's template."""
    started_at: int
    """End of the window, or time of the event, with which its condition began to hold."""
    updated_at: int
    """Time of the event this version follows from; of versions by people, of their action."""
    computed_at: int
    description: str = ""
    value: float | None = None
    """The latest value of what the rule looks at; null for rules that look at no number."""
    threshold: float | None = None
    lon: float | None = None
    lat: float | None = None
    cleared_at: int | None = None
    acknowledged_at: int | None = None
    acknowledged_by: str | None = None
    silenced_until: int | None = None
    silenced_by: str | None = None
    escalation: int = 0
    """How often nobody acknowledged it in time."""
    parent: str | None = None
    """Id of the alert that groups it with others of its area: deliveries leave it out."""
    children: int = 0
    """Of a group: how many alerts it stands for."""
    note: str = ""
    """What the person wrote who made this version."""


class FrameGap(msgspec.Struct, frozen=True):
    """Records of a writer never came: ``missing`` ones from number ``first`` on; key: the writer.

    ``gateway`` is the writer; of a log that is not as it was, the reason.
    """

    gateway: str
    epoch: int
    topic: str
    partition: int
    first: int
    missing: int
    at: int


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
    """Cumulative counts of readings: received = the sum of the others, always.

    ``duplicate``: the same reading again; ``corrected``: the same sensor and time with other
    values, of which the one ingested later stays.
    """

    received: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    late: int = 0
    in_flight: int = 0
    corrected: int = 0

    @property
    def imbalance(self) -> int:
        """Readings that are unaccounted for; zero unless there is a defect."""
        settled = self.accepted + self.rejected + self.duplicate + self.corrected + self.late
        return self.received - (settled + self.in_flight)


class WrittenSequence(msgspec.Struct, frozen=True, array_like=True):
    """What a writer has put on one partition since ``epoch``.

    Kafka has confirmed every number below ``next`` but those in ``void`` (first, last), which
    were given up and sent again under other numbers.
    """

    writer: str
    epoch: int
    topic: str
    partition: int
    next: int
    void: list[tuple[int, int]] = []


class ReadSequence(msgspec.Struct, frozen=True, array_like=True):
    """What a reader has had of one writer's records on one partition, from number ``first`` on.

    ``next`` is the number expected next; ``missing`` are ranges (first, last) below it that never
    came; ``events`` are the readings in frames, else the records. Records that came again are
    ``repeated`` and not counted otherwise; those that filled a gap later are ``reordered``.
    """

    writer: str
    epoch: int
    topic: str
    partition: int
    first: int = 0
    next: int = 0
    records: int = 0
    events: int = 0
    missing: list[tuple[int, int]] = []
    repeated: int = 0
    reordered: int = 0
    corrupt: int = 0
    """Records whose number could be read and whose content could not."""
    reader: str = ""
    """Of the stage, where several of it read the same: the name of a receiver."""

    @property
    def gaps(self) -> int:
        """Records that never came."""
        return sum(last - first + 1 for first, last in self.missing)


class ReadPosition(msgspec.Struct, frozen=True, array_like=True):
    """A reader has accounted for all records of a partition before ``next_offset``.

    A writer that began after ``known_since`` [ms] is known from its number 0 on.
    """

    topic: str
    partition: int
    next_offset: int
    known_since: int = -1
    reader: str = ""


class LedgerReport(msgspec.Struct, frozen=True):
    """What one process has done since ``epoch`` (its start, ms); key: stage/instance/epoch.

    ``kinds`` counts readings per kind; ``gauges`` are other figures for people, e.g.
    ``windows_closed``, ``rows_written``, ``lag_records``. ``written`` is what it has put on Kafka
    and ``read`` what a reader has had of it, per writer and partition, up to ``read_to``. Sent
    about every second.
    """

    stage: Literal["gateway", "worker", "sink", "feeds", "alerts", "deliver"]
    instance: str
    epoch: int
    at: int
    kinds: dict[str, Counts]
    gauges: dict[str, float] = {}
    written: list[WrittenSequence] = []
    read: list[ReadSequence] = []
    read_to: list[ReadPosition] = []

    @property
    def key(self) -> str:
        return f"{self.stage}/{self.instance}/{self.epoch}"
