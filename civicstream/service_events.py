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
    """The citizen's words, contacts in them masked."""
    reported_at: int
    """When the citizen made it."""
    received_at: int
    """When it came."""
    channel: Literal["mqtt", "open311"]
    """Way it came: mqtt, open311."""
    reporter: str
    """Pseudonym; personal data of it are elsewhere, encrypted."""
    reference: str
    """The client's own number of the report."""
    address: str | None = None
    """Of the place, as the citizen wrote it."""
    media_url: str | None = None
    """Address of a picture."""
    attributes: dict[str, list[str]] = {}
    """Answers to the service type's questions: code -> values."""


class PersonalRecord(msgspec.Struct, frozen=True):
    """What is known of a reporter as a person, encrypted; topic ``private``, key: pseudonym.

    ``sealed`` opens with ``civicstream.personal`` to a JSON object: client, name, email, phone,
    notify (``email`` or an https address, of those who want to be notified of their case), and the
    texts as they were before contacts in them were masked.
    """

    pseudonym: str
    """Keyed hash that stands for the person."""
    at: int
    """When the report came."""
    report: str
    """Id of the report it came with."""
    sealed: str
    """The encrypted record."""


class Case(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a case: what is known of one problem that one or more people reported."""

    id: str
    """The same in all versions."""
    version: int
    state: CaseState
    """received, acknowledged, assigned, in_progress, resolved, rejected, duplicate."""
    area: str
    service: str
    agency: str
    """Department whose task it is."""
    priority: Priority
    lon: float
    lat: float
    description: str
    """Of the first report."""
    reports: int
    """Reports of this problem."""
    reporters: int
    """Different people who reported it."""
    weight: float
    """Grows with the number of reporters and with what confirms it."""
    opened_at: int
    """When the first report came."""
    updated_at: int
    """When this version was made."""
    due_at: int
    """When it is to be resolved by its service's and priority's target."""
    changed_by: str
    """Who made this version: ``system``, an operator, a unit."""
    note: str = ""
    latest_report: str | None = None
    """Id of the report that made this version, if one did."""
    suggested_service: str | None = None
    """Service type that its words speak for, where that is another one."""
    confirmed_by: list[str] = []
    """Sensors and incidents that say the same."""
    breach: Literal["none", "near", "breached"] = "none"
    """Of the target time: none, near, breached."""
    duplicate_of: str | None = None
    """Id of the case that it is the same as."""


class Unit(msgspec.Struct, frozen=True, omit_defaults=True):
    """Place and state of a crew or vehicle."""

    id: str
    """The crew's or vehicle's name."""
    area: str
    """Where it reports from."""
    state: UnitState
    """off_duty, available, assigned, en_route, on_site."""
    skills: list[str]
    """What it is able to do."""
    lon: float
    lat: float
    shift_end: int
    """End of its shift."""
    capacity: float
    """What it can carry; of waste trucks in containers."""
    load: float
    """What it carries; of waste trucks in containers."""
    at: int
    """When it was there and in this state."""
    task: str | None = None
    """What it is assigned to: incident/<id>, case/<id>, tour/<id>."""


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
    """Of the case; 1 for incidents."""
    opened_at: int
    """Since when it waits."""
    due_at: int
    """When it is to be done."""
    work_s: float
    """Usual time on site [s]."""
    demand: float = 0.0
    """Of the unit's capacity."""
    segment: str | None = None
    """Road segment it is on, where it is on one."""


class Alternative(msgspec.Struct, frozen=True):
    """A unit that could have gone instead."""

    unit: str
    arrival_at: int
    """When it would be there."""
    extra_cost: float
    """What the whole plan would cost more, priority-weighted minutes."""


class Allocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of an advice to send a unit to a task, and what became of it."""

    id: str
    """The same in all versions."""
    version: int
    state: AllocationState
    """proposed, accepted, rejected, overridden, withdrawn, completed."""
    policy: str
    """Rule of assignment that made it."""
    task: str
    """incident/<id> or case/<id>."""
    unit: str
    area: str
    priority: Priority
    proposed_at: int
    """When it was proposed."""
    arrival_at: int
    """Expected arrival at the task."""
    route: list[str]
    """Segments in order."""
    reason: str
    """One sentence for the people who decide."""
    alternatives: list[Alternative]
    """Units that could have gone instead, with arrival and extra cost."""
    decided_by: str
    """Who made this version: system, an operator, a unit."""
    decided_at: int
    """When this version was made."""
    note: str = ""


class Action(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a person or a unit decided: about a case, an allocation or an alert."""

    id: str
    """Chosen by who sends it, so that a repeat changes nothing."""
    subject: str
    """``case/<id>``, ``allocation/<id>``, ``alert/<id>``."""
    action: str
    """E.g. acknowledge, start, resolve, reject, accept, override."""
    area: str
    by: str
    """The operator or unit."""
    at: int
    """When it was decided."""
    note: str = ""
    value: str | None = None
    """E.g. the unit of an override."""


class CrewAction(Action, frozen=True, omit_defaults=True):
    """What a unit says that it did; it speaks for itself only."""

    by: Annotated[str, msgspec.Meta(pattern="^unit/.")]
    action: Literal["accept", "reject", "start", "done"]
    """accept, reject, start or done."""


class Demand(msgspec.Struct, frozen=True):
    """What an area needs of a service, now and over the next hours; key: area."""

    area: str
    service: str
    at: int
    """Time of this estimate."""
    open_tasks: int
    """Tasks that wait or are under way."""
    weighted: float
    """Open tasks weighted by priority, age and reporters."""
    arrivals_per_h: float
    """New tasks an hour, at present."""
    expected: list[float]
    """Arrivals in each of the next hours."""
    expected_low: list[float]
    """Lower ends of the 80 % intervals."""
    expected_high: list[float]
    """Upper ends of the 80 % intervals."""
    capacity_per_h: float
    """Tasks an hour that the units on shift can do."""
    pressure: float | None
    """Demand divided by the capacity on shift; null without any."""


class BinForecast(msgspec.Struct, frozen=True):
    """When a waste container will be full; key: area. A newer one of a sensor replaces it."""

    sensor_key: int
    area: str
    sensor: str | None
    """Null where the city model does not have it."""
    lon: float | None
    lat: float | None
    at: int
    """Time of the reading it follows from."""
    level: float
    """Filled share now, 0..1, without the sensor's noise."""
    fill_per_h: float
    """Share of the container in an hour; 0 or less when it does not fill."""
    emptied_at: int | None
    """When it was emptied last; null where that was not seen."""
    predicted_full_at: int | None
    """When it is expected to be full; null: not within the horizon."""
    full_low: int | None
    """Lower end of the 80 % interval: one in ten is full before."""
    full_high: int | None
    """Upper end of the 80 % interval: one in ten is full only after."""


class ParkingForecast(msgspec.Struct, frozen=True):
    """Free spaces of one car park now and ahead; key: area. A newer one replaces it."""

    sensor_key: int
    area: str
    sensor: str | None
    """Null where the city model does not have it."""
    at: int
    """Time of the reading it follows from."""
    total: float
    """Spaces."""
    free: float
    """Free spaces now."""
    ahead_min: float
    """How far ahead the forecast looks [min]."""
    expected: float
    """Free spaces expected then."""
    low: float
    """Lower end of the 80 % interval."""
    high: float
    """Upper end of the 80 % interval."""


class TourStop(msgspec.Struct, frozen=True, omit_defaults=True):
    """One container on a tour."""

    sensor_key: int
    sensor: str | None
    """Null where the city model does not have it."""
    lon: float
    lat: float
    arrival_at: int
    """Expected, or when it was emptied."""
    predicted_full_at: int
    """When it is expected to be full."""
    load: float
    """What it holds, in containers."""
    emptied_at: int | None = None
    """When it was emptied; null: not yet."""


class Tour(msgspec.Struct, frozen=True, omit_defaults=True):
    """One version of a truck's way round the containers that will be full; key: area.

    Versions of one ``id`` count from 1 without gaps. A truck says of itself that it is at a stop
    by the task ``tour/<id>/<sensor_key>``.
    """

    id: str
    """The same in all versions."""
    version: int
    state: TourState
    """planned, under_way, finished, withdrawn."""
    unit: str
    """The truck."""
    area: str
    """Where the truck reports from."""
    planned_at: int
    """When it was planned."""
    updated_at: int
    """When this version was made."""
    ends_at: int
    """When the truck is expected back at the depot, or was free again."""
    stops: list[TourStop]
    """In order; those done keep their place."""
    capacity: float
    """Of the truck, in containers."""
    load: float
    """Of all stops, in containers."""
    km: float
    """Whole way as planned, what is driven already as it was driven [km]."""
    km_driven: float
    """Driven so far, between the places that the truck reported [km]."""
    overflow_h: float
    """Hours that containers on it were, or are expected to be, full before they are emptied."""
    note: str = ""
    """Why this version was made."""
