"""The events of citizens' reports, the cases they make, crews, and who is sent where.

One msgspec struct each, JSON on Kafka with CloudEvents headers, key: area. Times are epoch
milliseconds, places WGS 84 degrees. None of them holds a name, an address of a person, or an
identifier of a device: a reporter is a pseudonym (keyed hash).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

__all__ = [
    "Action",
    "Allocation",
    "AllocationState",
    "Alternative",
    "BinForecast",
    "Case",
    "CaseState",
    "CrewAction",
    "Demand",
    "ParkingForecast",
    "Priority",
    "Report",
    "Task",
    "Tour",
    "TourState",
    "TourStop",
    "Unit",
    "UnitState",
]

Priority = Literal[1, 2, 3, 4]
"""1 urgent (may pre-empt), 2 high, 3 normal, 4 low."""

CaseState = Literal[
    "received", "acknowledged", "assigned", "in_progress", "resolved", "rejected", "duplicate"
]

UnitState = Literal["off_duty", "available", "assigned", "en_route", "on_site"]

AllocationState = Literal[
    "proposed", "accepted", "rejected", "overridden", "withdrawn", "completed"
]

TourState = Literal["planned", "under_way", "finished", "withdrawn"]


class Report(msgspec.Struct, frozen=True, omit_defaults=True):
    """One citizen's report; the same ``id`` however often it is sent."""

    id: str
    """Keyed hash of reporter and ``reference``."""
    area: str
    service: str
    """Code of the service type, as reported."""
    lon: float
    lat: float
    description: str
    reported_at: int
    received_at: int
    channel: Literal["mqtt", "open311"]
    reporter: str
    """Pseudonym; personal data of it are elsewhere, encrypted."""
    reference: str
    """The client's own number of the report."""
    address: str | None = None
    """Of the place, as the citizen wrote it."""
    media_url: str | None = None
    attributes: dict[str, list[str]] = {}


class PersonalRecord(msgspec.Struct, frozen=True):
    """What is known of a reporter as a person, encrypted; topic ``private``, key: pseudonym.

    ``sealed`` opens with ``civicstream.personal`` to a JSON object: client, name, email, phone,
    notify (``email`` or an https address, of those who want to be notified of their case), and the
    texts as they were before contacts in them were masked.
    """

    pseudonym: str
    at: int
    report: str
    """Id of the report it came with."""
    sealed: str


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a case: what is known of one problem that one or more people reported."""

    id: str
    version: int
    state: CaseState
    area: str
    service: str
    agency: str
    priority: Priority
    lon: float
    lat: float
    description: str
    """Of the first report."""
    reports: int
    reporters: int
    weight: float
    """Grows with the number of reporters and with what confirms it."""
    opened_at: int
    updated_at: int
    due_at: int
    """When it is to be resolved by its service's and priority's target."""
    changed_by: str
    """Who made this version: ``system``, an operator, a unit."""
    note: str = ""
    latest_report: str | None = None
    """Id of the report that made this version, if one did."""
    suggested_service: str | None = None
    confirmed_by: list[str] = []
    """Sensors and incidents that say the same."""
    breach: Literal["none", "near", "breached"] = "none"
    duplicate_of: str | None = None


class Unit(msgspec.Struct, frozen=True, omit_defaults=True):
    """Place and state of a crew or vehicle."""

    id: str
    area: str
    """Where it reports from."""
    state: UnitState
    skills: list[str]
    lon: float
    lat: float
    shift_end: int
    capacity: float
    load: float
    at: int
    task: str | None = None
    """What it is assigned to."""


class Task(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a unit has to go to: an open incident or case."""

    id: str
    """``incident/<id>`` or ``case/<id>``."""
    area: str
    lon: float
    lat: float
    skill: str
    """What a unit must be able to do."""
    priority: Priority
    weight: float
    opened_at: int
    due_at: int
    work_s: float
    """Usual time on site."""
    demand: float = 0.0
    """Of the unit's capacity."""
    segment: str | None = None


class Alternative(msgspec.Struct, frozen=True):
    """A unit that could have gone instead."""

    unit: str
    arrival_at: int
    extra_cost: float
    """What the whole plan would cost more, priority-weighted minutes."""


class Allocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of an advice to send a unit to a task, and what became of it."""

    id: str
    version: int
    state: AllocationState
    policy: str
    task: str
    unit: str
    area: str
    priority: Priority
    proposed_at: int
    arrival_at: int
    route: list[str]
    """Segments in order."""
    reason: str
    """One sentence for the people who decide."""
    alternatives: list[Alternative]
    decided_by: str
    decided_at: int
    note: str = ""


class Action(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person or a unit decided: about a case, an allocation or an alert."""

    id: str
    subject: str
    """``case/<id>``, ``allocation/<id>``, ``alert/<id>``."""
    action: str
    """E.g. acknowledge, start, resolve, reject, accept, override."""
    area: str
    by: str
    at: int
    note: str = ""
    value: str | None = None
    """E.g. the unit of an override."""


class CrewAction(Action, frozen=True, omit_defaults=True):
    """What a unit says that it did; it speaks for itself only."""

    by: Annotated[str, msgspec.Meta(pattern="^unit/.")]
    action: Literal["accept", "reject", "start", "done"]


class Demand(msgspec.Struct, frozen=True):
    """What an area needs of a service, now and over the next hours; key: area."""

    area: str
    service: str
    at: int
    open_tasks: int
    weighted: float
    """Open tasks weighted by priority, age and reporters."""
    arrivals_per_h: float
    expected: list[float]
    """Arrivals in each of the next hours."""
    expected_low: list[float]
    expected_high: list[float]
    """80 % interval."""
    capacity_per_h: float
    pressure: float | None
    """Demand divided by the capacity on shift; null without any."""


class BinForecast(msgspec.Struct, frozen=True):
    """When a waste container will be full; key: area. A newer one of a sensor replaces it."""

    sensor_key: int
    area: str
    sensor: str | None
    """None where the city model does not have it."""
    lon: float | None
    lat: float | None
    at: int
    """Time of the reading it follows from."""
    level: float
    """Filled share now, 0..1, without the sensor's noise."""
    fill_per_h: float
    """Share of the container in an hour; 0 or less when it does not fill."""
    emptied_at: int | None
    predicted_full_at: int | None
    """Null where it will not be full within the horizon."""
    full_low: int | None
    """The 80 % interval: one in ten is full before ``full_low``, one in ten after ``full_high``."""
    full_high: int | None


class ParkingForecast(msgspec.Struct, frozen=True):
    """Free spaces of one car park now and ahead; key: area. A newer one replaces it."""

    sensor_key: int
    area: str
    sensor: str | None
    """None where the city model does not have it."""
    at: int
    """Time of the reading it follows from."""
    total: float
    free: float
    ahead_min: float
    """How far ahead the forecast looks."""
    expected: float
    low: float
    high: float
    """80 % interval."""


class TourStop(msgspec.Struct, frozen=True, omit_defaults=True):
    """One container on a tour."""

    sensor_key: int
    sensor: str | None
    """None where the city model does not have it."""
    lon: float
    lat: float
    arrival_at: int
    """Expected, or when it was emptied."""
    predicted_full_at: int
    load: float
    """What it holds, in containers."""
    emptied_at: int | None = None


class Tour(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a truck's way round the containers that will be full; key: area.

    Versions of one ``id`` count from 1 without gaps. A truck says of itself that it is at a stop
    by the task ``tour/<id>/<sensor_key>``.
    """

    id: str
    version: int
    state: TourState
    unit: str
    area: str
    planned_at: int
    updated_at: int
    ends_at: int
    """When the truck is expected back at the depot, or was free again."""
    stops: list[TourStop]
    """In order; those done keep their place."""
    capacity: float
    """Of the truck, in containers."""
    load: float
    """Of all stops."""
    km: float
    """Of the whole way as planned, what is driven already as it was driven."""
    km_driven: float
    """So far, between the places that the truck reported."""
    overflow_h: float
    """Hours that containers on it were, or are expected to be, full before they are emptied."""
    note: str = ""
    """Why this version was made."""
