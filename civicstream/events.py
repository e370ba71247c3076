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
    """Readings of its detectors in the window."""
    vehicles: float
    """Vehicles counted."""
    flow_veh_h: float
    """Flow [veh/h], all lanes."""
    time_mean_speed_kmh: float | None
    """Arithmetic mean of the vehicles' speeds [km/h]."""
    space_mean_speed_kmh: float | None
    """Harmonic mean of the vehicles' speeds [km/h]."""
    p85_speed_kmh: float | None
    """Speed that 85 % of the vehicles do not exceed [km/h]."""
    occupancy: float | None
    """Share of time that a detector is occupied, 0..1."""
    density_veh_km_lane: float | None
    """Density [veh/km per lane]."""
    level_of_service: str | None
    """A (free flow) to F (breakdown)."""
    travel_time_index: float | None
    """Travel time divided by that at free flow."""
    coverage: float
    """Share of the segment's expected sensors that reported, 0..1."""


class TrafficResult(msgspec.Struct, frozen=True):
    """Traffic of one area in one window; key: area."""

    area: str
    window_start: int
    window_end: int
    status: Status
    """Final results are stored; provisional ones are for looking at."""
    computed_at: int
    segments: list[TrafficRow]
    """A row per segment."""


class EnvironmentRow(msgspec.Struct, frozen=True):
    """One measure of one kind over an area's sensors."""

    measure: str
    readings: int
    """Readings that have this measure."""
    sensors: int
    """Sensors that have this measure."""
    mean: float
    """Mean, in the measure's unit."""
    min: float
    """Smallest value, in the measure's unit."""
    max: float
    """Largest value, in the measure's unit."""
    p95: float
    """Value that 95 % do not exceed, in the measure's unit."""


class EnvironmentResult(msgspec.Struct, frozen=True):
    """One non-traffic kind of one area in one window; key: area."""

    kind: str
    area: str
    window_start: int
    window_end: int
    status: Status
    """Final results are stored; provisional ones are for looking at."""
    computed_at: int
    readings: int
    """Readings of the kind in the window, whatever they measured."""
    sensors: int
    """Sensors of the kind that reported in the window."""
    measures: list[EnvironmentRow]
    """A row per measure."""


class Incident(msgspec.Struct, frozen=True):
    """One version of an incident between two neighbouring detectors; key: area.

    Versions of one ``id`` count from 1 without gaps; the newest is what is known now. Methods
    and formulas: docs/traffic.md.
    """

    id: str
    """The same in all versions."""
    version: int
    state: IncidentState
    """suspected, confirmed, clearing, cleared."""
    algorithm: str
    """The detector that found it."""
    area: str
    corridor: str
    """Road and direction of travel."""
    segment: str
    """The segment whose capacity is lost, as far as the evidence tells."""
    upstream_segment: str
    """Of the detector before it, whose readings show it."""
    downstream_segment: str
    """Of the detector behind it, whose readings show it."""
    position: float
    """Estimated share of the way from the upstream detector to the downstream one, 0..1."""
    severity: float
    """Estimated share of the capacity that is lost, 0..1."""
    confidence: float
    """How sure the detector is, 0..1."""
    estimated_start: int
    """When it began, by the detector's estimate."""
    first_evidence: int
    """End of the first window that spoke for it."""
    last_evidence: int
    """End of the newest window that spoke for it."""
    delay_veh_h: float
    """Vehicle-hours lost so far against the segments' usual state."""
    queue_m: float
    """Present length of the queue upstream [m]."""
    window_end: int
    """End of the window this version follows from."""
    computed_at: int


class ForecastRow(msgspec.Struct, frozen=True):
    """One segment; every list has a value per horizon, null where nothing can be said."""

    segment: str
    speed_kmh: list[float | None]
    """Expected space-mean speed [km/h]."""
    speed_low_kmh: list[float | None]
    """Lower end of the 80 % interval [km/h]."""
    speed_high_kmh: list[float | None]
    """Upper end of the 80 % interval [km/h]."""
    flow_veh_h: list[float | None]
    """Expected flow [veh/h]."""
    flow_low_veh_h: list[float | None]
    """Lower end of the 80 % interval [veh/h]."""
    flow_high_veh_h: list[float | None]
    """Upper end of the 80 % interval [veh/h]."""


class TrafficForecast(msgspec.Struct, frozen=True):
    """Speed and flow of one area's segments ahead, with 80 % intervals; key: area.

    ``made_at`` is the end of the newest window it knows; row lists follow ``horizons_min``.
    """

    area: str
    made_at: int
    """End of the newest window it knows."""
    horizons_min: list[int]
    """How far ahead each value of a row looks [min]."""
    computed_at: int
    segments: list[ForecastRow]
    """A row per segment."""


class SensorHealth(msgspec.Struct, frozen=True):
    """A change of one sensor's state of health; key: area.

    While it is not ``ok`` the sensor is left out of the results.
    """

    sensor_key: int
    kind: str
    area: str
    sensor: str | None
    """Null where the city model does not have it; the table ``sensors`` does."""
    health: Health
    """ok, stuck, flat, impossible, silent, skewed, drifting."""
    reason: str
    """One sentence with the measure, the value and what was expected."""
    since: int
    """Since when it has this health."""
    before: Health
    """Its health until then."""
    window_end: int
    """End of the window this change follows from."""
    computed_at: int


class Anomaly(msgspec.Struct, frozen=True):
    """One version of something unusual that a healthy sensor measures; key: area."""

    id: str
    """The same in all versions."""
    version: int
    state: Literal["open", "closed"]
    """open, closed."""
    kind: str
    area: str
    sensor_key: int
    sensor: str | None
    """Null where the city model does not have it; the table ``sensors`` does."""
    measure: str
    score: float
    """The highest anomaly score so far, 0..1."""
    value: float
    """What was measured when this version was made."""
    expected: float
    """What is usual at that time, in the measure's unit."""
    low: float
    """Lower end of the 98 % interval of what is usual."""
    high: float
    """Upper end of the 98 % interval of what is usual."""
    started_at: int
    """When it began."""
    last_at: int
    """When it was last unusual."""
    window_end: int
    """End of the window this version follows from."""
    computed_at: int


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of an alert that a rule raised; key: area. Rules: docs/alerts.md.

    Versions of one ``id`` count from 1 without gaps; the newest is what is known now. At any
    moment at most one alert of a deduplication ``key`` is active.
    """

    id: str
    """The same in all versions."""
    version: int
    state: Literal["active", "cleared"]
    """active, cleared."""
    change: AlertChange
    """What this version is about: raised, updated, acknowledged, silenced, unsilenced, escalated,
    cleared.
    """
    rule: str
    """Name of the rule that raised it."""
    key: str
    """What it is one alert of: the rule and, say, the segment."""
    severity: AlertSeverity
    """minor, moderate, severe, extreme (CAP 1.2)."""
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
    """More sentences from the rule's template."""
    value: float | None = None
    """The latest value of what the rule looks at; null for rules that look at no number."""
    threshold: float | None = None
    """What the rule compares the value with."""
    lon: float | None = None
    lat: float | None = None
    cleared_at: int | None = None
    """When its condition ended."""
    acknowledged_at: int | None = None
    """When a person took it on."""
    acknowledged_by: str | None = None
    """The person who did."""
    silenced_until: int | None = None
    """Until when it is not announced."""
    silenced_by: str | None = None
    """The person who silenced it."""
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
    """The writer; of a log that is not as it was, the reason."""
    epoch: int
    """Start of the writer [epoch ms]."""
    topic: str
    partition: int
    first: int
    """Number of the first record that is missing."""
    missing: int
    """How many are missing."""
    at: int
    """When it was found."""


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something a stage could not accept, with the bytes it came as."""

    stage: str
    """Part that could not accept it, e.g. gateway."""
    reason: str
    """Sort of fault, one word."""
    detail: str
    """One sentence with value, place and remedy."""
    topic: str
    """MQTT or Kafka topic that it came on."""
    received_at: int
    """When it came."""
    payload: bytes
    """What came, base64 in JSON; over the size limit cut to its first 4 KiB."""
    payload_bytes: int
    """True size of what came [bytes]."""
    kind: str | None = None
    """Kind of observation, where it is known."""
    instance: str | None = None
    """Which process of the part."""
    count: int = 1
    """Readings that were rejected; of an array only the bad members."""
    members: list[tuple[int, str]] = []
    """Bad members of an array: index and sentence of the first of them."""
    partition: int | None = None
    """Partition of the Kafka topic; null for MQTT."""
    offset: int | None = None
    """Offset in the Kafka partition; null for MQTT."""


class Counts(msgspec.Struct):
    """Cumulative counts of readings: received = the sum of the others, always."""

    received: int = 0
    """All that came."""
    accepted: int = 0
    """Passed on, or new rows."""
    rejected: int = 0
    """Became dead letters."""
    duplicate: int = 0
    """The same reading again."""
    late: int = 0
    """Came after their window was closed."""
    in_flight: int = 0
    """Taken in and not settled yet."""
    corrected: int = 0
    """The same sensor and time with other values: the one ingested later stays."""

    @property
    def imbalance(self) -> int:
        """Readings that are unaccounted for; zero unless there is a defect."""
        settled = self.accepted + self.rejected + self.duplicate + self.corrected + self.late
        return self.received - (settled + self.in_flight)


class WrittenSequence(msgspec.Struct, frozen=True, array_like=True):
    """What a writer has put on one partition since ``epoch``."""

    writer: str
    """Name of the process that numbers its records."""
    epoch: int
    """Start of the writer [epoch ms]."""
    topic: str
    partition: int
    next: int
    """The next number; Kafka has confirmed every one before it but those in ``void``."""
    void: list[tuple[int, int]] = []
    """Numbers (first, last) that were given up, their records sent again under others."""


class ReadSequence(msgspec.Struct, frozen=True, array_like=True):
    """What a reader has had of one writer's records on one partition, from number ``first`` on."""

    writer: str
    """Name of the process that numbered the records."""
    epoch: int
    """Start of the writer [epoch ms]."""
    topic: str
    partition: int
    first: int = 0
    """The first number that counts."""
    next: int = 0
    """The number expected next."""
    records: int = 0
    """Records read, each counted once."""
    events: int = 0
    """Readings in frames, else records."""
    missing: list[tuple[int, int]] = []
    """Ranges of numbers (first, last) below ``next`` that never came."""
    repeated: int = 0
    """Records that came again; they are not counted otherwise."""
    reordered: int = 0
    """Records that filled a gap later."""
    corrupt: int = 0
    """Records whose number could be read and whose content could not."""
    reader: str = ""
    """Of the stage, where several of it read the same: the name of a receiver."""

    @property
    def gaps(self) -> int:
        """Records that never came."""
        return sum(last - first + 1 for first, last in self.missing)


class ReadPosition(msgspec.Struct, frozen=True, array_like=True):
    """A reader has accounted for all records of a partition before ``next_offset``."""

    topic: str
    partition: int
    next_offset: int
    """The offset to read next."""
    known_since: int = -1
    """Writers that began later [epoch ms] are known from their number 0 on."""
    reader: str = ""
    """As in ReadSequence."""


class LedgerReport(msgspec.Struct, frozen=True):
    """What one process has done since its start; key: stage/instance/epoch; about every second."""

    stage: Literal["gateway", "worker", "sink", "feeds", "alerts", "deliver"]
    """Part of the system."""
    instance: str
    """Which process of the part."""
    epoch: int
    """Start of the process [epoch ms]."""
    at: int
    """When it was sent."""
    kinds: dict[str, Counts]
    """Counts of readings by kind."""
    gauges: dict[str, float] = {}
    """Other figures for people, e.g. ``windows_closed``, ``rows_written``, ``lag_records``."""
    written: list[WrittenSequence] = []
    """What it has put on Kafka, by partition."""
    read: list[ReadSequence] = []
    """What it has had from Kafka, by writer and partition."""
    read_to: list[ReadPosition] = []
    """How far it has read each partition."""

    @property
    def key(self) -> str:
        return f"{self.stage}/{self.instance}/{self.epoch}"
