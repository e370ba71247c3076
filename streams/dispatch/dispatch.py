"""The city's desk: cases, containers and car parks, demand, allocation and tours; pure.

Each is told what the others conclude.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence

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
    TourDesk,
    task_of_case,
    task_of_incident,
)
from streams.dispatch.cases import CaseDesk
from streams.dispatch.demand import DemandDesk, ResourceDesk
from streams.network.network_judgement import RoadOutlook
from streams.runtime.records import Record, make_record
from streams.windows.levels import Levels, decode_levels

__all__ = ["INPUTS", "Dispatch", "Input", "decode_input"]

Event = Report | Action | Unit | Incident | Anomaly
Input = Event | Levels

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

_DESKS = ("cases", "demand", "allocation", "resources", "tours")


def decode_input(topic: str, value: bytes) -> Input:
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
        self._cases = CaseDesk(services, city)
        self._demand = DemandDesk(services, city, offset_ms)
        self._resources = ResourceDesk(city, offset_ms)
        self._tours = TourDesk()
        # Without roads there are no travel times: cases and demand are kept all the same.
        self._dispatcher = Dispatcher(city, settings) if city.segments else None

    def apply(self, events: Sequence[Input], now_ms: int) -> list[Record]:
        """Take the events in, in order, and return all that follows from them."""
        return [
            record for event in events for record in self._settle(self._take(event, now_ms), now_ms)
        ]

    def tick(self, now_ms: int, outlook: RoadOutlook | None = None) -> list[Record]:
        """Return what time alone makes due: warnings, plans, demand; ``outlook`` are new speeds."""
        due: list[_Output] = [*self._cases.tick(now_ms), *self._demand.tick(now_ms)]
        if self._dispatcher is not None:
            if outlook is not None:
                self._dispatcher.apply_speeds(outlook.now_kmh, outlook.ahead_kmh)
            due += self._dispatcher.tick(now_ms)
            due += self._tours.tick(now_ms, self._dispatcher.speeds)
        return self._settle(due, now_ms)

    def _take(self, event: Input, now_ms: int) -> list[_Output]:
        if isinstance(event, Levels):
            return [*self._resources.apply(event)]
        if isinstance(event, Report | Action):
            return self._take_word(event, now_ms)
        followed: list[_Output] = []
        if isinstance(event, Unit):
            followed = [*self._allocate(event, now_ms), *self._tours.apply(event)]
        followed += self._tell_both(event, now_ms)
        if isinstance(event, Incident):
            followed += self._follow_incident(event, now_ms)
        return followed

    def _take_word(self, event: Report | Action, now_ms: int) -> list[_Output]:
        """Take in what people say."""
        if isinstance(event, Action):
            if event.subject.startswith(("allocation/", "incident/")):
                return self._allocate(event, now_ms)
            if event.action == "assign" and self._dispatcher is not None:
                return self._assign(self._dispatcher, event, now_ms)
        return [*self._cases.apply(event, now_ms)]

    def _assign(self, dispatcher: Dispatcher, action: Action, now_ms: int) -> list[_Output]:
        """Send a unit to a case as somebody decided; the case follows its allocation.

        What the dispatcher cannot do is told in the case, which stays as it was.
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

    def _tell_both(
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
        """Tell each output to the desks that it concerns, and so on; return the records of all."""
        waiting, records = deque(outputs), []
        while waiting:
            output = waiting.popleft()
            records.append(_record(output, now_ms))
            if isinstance(output, Case):
                waiting += self._follow_case(output, now_ms)
            elif isinstance(output, Allocation):
                waiting += self._cases.apply(output, now_ms)
            elif isinstance(output, BinForecast):
                waiting += [*self._tell_both(output, now_ms), *self._tours.apply(output)]
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
        allocation = self._dispatcher.changed() if self._dispatcher else {}
        parts = (
            self._cases.changed(),
            self._demand.changed(),
            allocation,
            self._resources.changed(),
            self._tours.changed(),
        )
        return {
            f"{desk}/{key}": value
            for desk, items in zip(_DESKS, parts, strict=True)
            for key, value in items.items()
        }

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave; raise DataError or ValueError for others."""
        own: dict[str, dict[str, bytes]] = {desk: {} for desk in _DESKS}
        for name, content in items.items():
            desk, _, key = name.partition("/")
            own[desk][key] = content
        self._cases.restore(own["cases"])
        self._demand.restore(own["demand"])
        self._resources.restore(own["resources"])
        self._tours.restore(own["tours"])
        if self._dispatcher is not None:
            self._dispatcher.restore(own["allocation"])


def _record(output: _Output, now_ms: int) -> Record:
    if isinstance(output, Refusal | DeadLetter):
        letter = _letter(output) if isinstance(output, Refusal) else output
        digest = hashlib.blake2b(msgspec.json.encode(letter), digest_size=12).hexdigest()
        made = dead_letter_record(letter, "/civicstream/streams", f"dispatch/{digest}")
        return Record("deadletter", letter.topic, made.value, made.headers)
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


def _letter(refusal: Refusal) -> DeadLetter:
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
