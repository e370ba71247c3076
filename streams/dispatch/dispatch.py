"""Dispatch: cases, containers and car parks, demand, allocation and tours; pure.

Each takes in what the others conclude.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from civicstream.city import City
from civicstream.errors import CorruptFrame
from civicstream.events import Anomaly, DeadLetter, Incident
from civicstream.kafka.dead_letter import Origin, dead_letter_record, make_dead_letter
from civicstream.service_events import (
    Action,
    Allocation,
    BinForecast,
    Case,
    CrewAction,
    Demand,
    ParkingForecast,
    Report,
    Task,
    Tour,
    Unit,
)
from civicstream.services import ServiceType
from streams.dispatch.allocation import (
    Dispatcher,
    DispatchSettings,
    Refusal,
    TourPlanner,
    task_of_case,
    task_of_incident,
)
from streams.dispatch.cases import CaseProcessor
from streams.dispatch.demand import DemandForecaster, ResourceForecaster
from streams.network.network_judgement import RoadOutlook
from streams.runtime.records import Record, make_record
from streams.runtime.state_items import StateItems, under
from streams.windows.levels import Levels, decode_levels

__all__ = ["INPUTS", "Dispatch", "InputEvent", "decode_input"]

Event = Report | Action | Unit | Incident | Anomaly
InputEvent = Event | Levels

_EVENTS: dict[str, type[Event]] = {
    "reports": Report,
    "actions": Action,
    "crew_actions": CrewAction,
    "units": Unit,
    "incidents": Incident,
    "anomalies": Anomaly,
}

INPUTS = (*_EVENTS, "levels")
"""The topics it reads."""

_Forecast = BinForecast | ParkingForecast
_Output = Case | Allocation | Demand | _Forecast | Tour | DeadLetter | Refusal

E_contra = TypeVar("E_contra", contravariant=True)
O_co = TypeVar("O_co", covariant=True)


class Processor(StateItems, Protocol[E_contra, O_co]):
    """A part of dispatch: events in, versions of what it looks after out; no clock and no I/O.

    The same state, events and times give the same outputs. Events of before change nothing. Its
    state is what ``changed`` and ``restore`` say (`StateItems`).
    """

    def apply(self, event: E_contra, now_ms: int, /) -> Sequence[O_co]:
        """Take an event in; return what follows from it at once."""

    def tick(self, now_ms: int, /) -> Sequence[O_co]:
        """Return what time alone makes due; called about once a second."""


def decode_input(topic: str, value: bytes) -> InputEvent:
    """Return the event of a record; raise CorruptFrame when it is none."""
    if topic == "levels":
        return decode_levels(value)
    try:
        return msgspec.json.decode(value, type=_EVENTS[topic])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        wanted = _EVENTS[topic].__name__
        raise CorruptFrame("foreign_record", f"not a {wanted}: {error}") from error


def _universal_time(_: int) -> int:
    return 0


class Dispatch:
    """Cases, demand and allocation of one city; same state and same input, same output."""

    def __init__(
        self,
        services: Mapping[str, ServiceType],
        city: City,
        settings: DispatchSettings | None = None,
        offset_ms: Callable[[int], int] = _universal_time,
    ) -> None:
        """``offset_ms`` tells local time minus UTC at a time [ms]: people live by it."""
        self._services = services
        self._city = city
        self._cases = CaseProcessor(services, city)
        self._demand = DemandForecaster(services, city, offset_ms)
        self._resources = ResourceForecaster(city, offset_ms)
        self._tours = TourPlanner()
        # Without roads there are no travel times: cases and demand are kept all the same.
        self._dispatcher = Dispatcher(city, settings) if city.segments else None
        self._processors: dict[str, Processor[Any, _Output]] = {
            "cases": self._cases,
            "demand": self._demand,
        }
        if self._dispatcher is not None:
            self._processors["allocation"] = self._dispatcher
            self._tours.take_speeds(self._dispatcher.speeds)
        self._processors |= {"resources": self._resources, "tours": self._tours}

    def apply(self, events: Sequence[InputEvent], now_ms: int) -> list[Record]:
        """Take the events in, in order, and return all that follows from them."""
        return [
            record for event in events for record in self._settle(self._take(event, now_ms), now_ms)
        ]

    def tick(self, now_ms: int, outlook: RoadOutlook | None = None) -> list[Record]:
        """Return what time alone makes due: warnings, plans, demand; ``outlook`` are new speeds."""
        if self._dispatcher is not None and outlook is not None:
            self._dispatcher.apply_speeds(outlook.now_kmh, outlook.ahead_kmh)
            self._tours.take_speeds(self._dispatcher.speeds)
        due = [made for each in self._processors.values() for made in each.tick(now_ms)]
        return self._settle(due, now_ms)

    def _take(self, event: InputEvent, now_ms: int) -> list[_Output]:
        if isinstance(event, Levels):
            return [*self._resources.apply(event, now_ms)]
        if isinstance(event, Report | Action):
            return self._take_message(event, now_ms)
        followed: list[_Output] = []
        if isinstance(event, Unit):
            followed = [*self._allocate(event, now_ms), *self._tours.apply(event, now_ms)]
        followed += self._apply_to_both(event, now_ms)
        if isinstance(event, Incident):
            followed += self._follow_incident(event, now_ms)
        return followed

    def _take_message(self, event: Report | Action, now_ms: int) -> list[_Output]:
        """Take in a report or a decision."""
        if isinstance(event, Action):
            if event.subject.startswith(("allocation/", "incident/")):
                return self._allocate(event, now_ms)
            if event.action == "assign" and self._dispatcher is not None:
                return self._assign(self._dispatcher, event, now_ms)
        return [*self._cases.apply(event, now_ms)]

    def _assign(self, dispatcher: Dispatcher, action: Action, now_ms: int) -> list[_Output]:
        """Send a unit to a case as somebody decided; the case follows its allocation.

        What the dispatcher cannot do is noted in the case, which stays as it was.
        """
        refused = self._cases.examine(action, now_ms)
        if refused is not None:
            return [*refused]
        outputs: list[_Output] = [*dispatcher.apply(action, now_ms)]
        case = action.subject.removeprefix("case/")
        for reason in [o.reason for o in outputs if isinstance(o, Refusal)]:
            note = f"not assigned to {action.value}: {reason}"
            outputs += self._cases.remark(case, action.by, note, now_ms)
        return outputs

    def _apply_to_both(
        self, event: Unit | Incident | Anomaly | BinForecast, now_ms: int
    ) -> list[_Output]:
        return [*self._cases.apply(event, now_ms), *self._demand.apply(event, now_ms)]

    def _follow_incident(self, incident: Incident, now_ms: int) -> list[_Output]:
        task = task_of_incident(incident, self._city)
        if task is not None:
            return self._allocate(task, now_ms)
        if incident.state == "cleared":
            return self._close(f"incident/{incident.id}", now_ms)
        return []

    def _allocate(self, event: Unit | Task | Action, now_ms: int) -> list[_Output]:
        return [*self._dispatcher.apply(event, now_ms)] if self._dispatcher else []

    def _close(self, task: str, now_ms: int) -> list[_Output]:
        return [*self._dispatcher.close_task(task, now_ms)] if self._dispatcher else []

    def _settle(self, outputs: list[_Output], now_ms: int) -> list[Record]:
        """Give each output to those that it concerns, and so on; return the records of all."""
        waiting, records = deque(outputs), []
        while waiting:
            output = waiting.popleft()
            records.append(_record(output, now_ms))
            if isinstance(output, Case):
                waiting += self._follow_case(output, now_ms)
            elif isinstance(output, Allocation):
                waiting += self._cases.apply(output, now_ms)
            elif isinstance(output, BinForecast):
                waiting += [
                    *self._apply_to_both(output, now_ms),
                    *self._tours.apply(output, now_ms),
                ]
            elif isinstance(output, ParkingForecast):
                waiting += self._demand.apply(output, now_ms)
        return records

    def _follow_case(self, case: Case, now_ms: int) -> list[_Output]:
        out: list[_Output] = [*self._demand.apply(case, now_ms)]
        service = self._services.get(case.service)
        task = task_of_case(case, service) if service else None
        if task is None:
            return [*out, *self._close(f"case/{case.id}", now_ms)]
        return [*out, *self._allocate(task, now_ms)]

    def changed(self) -> dict[str, bytes | None]:
        """Return the items of state that changed since the last call; None: drop that key."""
        return {
            f"{name}/{key}": item
            for name, processor in self._processors.items()
            for key, item in processor.changed().items()
        }

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave; raise DataError for others."""
        for name, processor in self._processors.items():
            processor.restore(under(f"{name}/", items))


def _record(output: _Output, now_ms: int) -> Record:
    if isinstance(output, Refusal | DeadLetter):
        dead_letter = _dead_letter(output) if isinstance(output, Refusal) else output
        digest = hashlib.blake2b(msgspec.json.encode(dead_letter), digest_size=12).hexdigest()
        made = dead_letter_record(dead_letter, "/civicstream/streams", f"dispatch/{digest}")
        return Record("deadletter", dead_letter.topic, made.value, made.headers)
    topic, event_id = _name(output)
    return make_record(topic, output.area, output, event_id, now_ms)


def _name(output: Case | Allocation | Demand | _Forecast | Tour) -> tuple[str, str]:
    """Return the topic of an event, and its id: the same however often it is published."""
    match output:
        case Case():
            return "cases", f"case/{output.id}/{output.version}"
        case Allocation():
            return "allocations", f"allocation/{output.id}/{output.version}"
        case Tour():
            return "tours", f"tour/{output.id}/{output.version}"
        case BinForecast():
            return "bins", f"bin/{output.sensor_key}/{output.at}"
        case ParkingForecast():
            return "parking", f"parking/{output.sensor_key}/{output.at}"
        case Demand():
            return "demand", f"demand/{output.area}/{output.service}/{output.at}"


def _dead_letter(refusal: Refusal) -> DeadLetter:
    payload = msgspec.json.encode(refusal)
    return make_dead_letter(
        "worker",
        None,
        Origin("actions"),
        payload,
        "refused_action",
        f"{refusal.action} of {refusal.by} on {refusal.subject}: {refusal.reason}",
        at_ms=refusal.at,
        kind="action",
    )
