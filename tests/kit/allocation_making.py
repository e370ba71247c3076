"""A small town for the tests of the allocation: one long street, units and tasks along it."""

from __future__ import annotations

from typing import Any

from civicstream.city import Area, City, Segment
from civicstream.geo import METRES_PER_DEGREE
from civicstream.service_events import Action, Allocation, Task, Unit
from streams.dispatch.allocation import Dispatcher, DispatchSettings, Refusal

NOW = 1_773_130_000_000
MINUTE = 60_000
HOUR = 3_600_000
KM = 1_000 / METRES_PER_DEGREE
"""A kilometre in degrees at the equator; the street is driven at 60 km/h: a kilometre a minute."""


def town(length_km: int = 60) -> City:
    area = Area("a", "A", ((0, 0), (1, 0), (1, 1), (0, 0)))
    ids = [f"s{i}" for i in range(length_km)]
    return City(
        (area,),
        tuple(
            Segment(
                id=id_,
                area="a",
                corridor="main",
                position=i,
                road_class="street",
                lanes=1,
                length_m=1000.0,
                free_flow_kmh=60.0,
                line=((i * KM, 0.0), ((i + 1) * KM, 0.0)),
                upstream=(ids[i - 1],) if i else (),
                downstream=(ids[i + 1],) if i + 1 < length_km else (),
            )
            for i, id_ in enumerate(ids)
        ),
    )


TOWN = town()


def dispatcher(policy: str = "optimal", **settings: Any) -> Dispatcher:
    return Dispatcher(TOWN, DispatchSettings(policy=policy, **settings))


def unit(id_: str, km: float, **changes: Any) -> Unit:
    values: dict[str, Any] = {
        "state": "available",
        "skills": ["road"],
        "shift_end": NOW + 10 * HOUR,
        "capacity": 10.0,
        "load": 0.0,
        "at": NOW,
    }
    return Unit(id=id_, area="a", lon=km * KM, lat=0.0, **{**values, **changes})


def task(id_: str, km: float, **changes: Any) -> Task:
    values: dict[str, Any] = {
        "skill": "road",
        "priority": 3,
        "weight": 1.0,
        "opened_at": NOW,
        "due_at": NOW + 4 * HOUR,
        "work_s": 1800.0,
    }
    return Task(id=f"case/{id_}", area="a", lon=km * KM, lat=0.0, **{**values, **changes})


def act(allocation: Allocation, action: str, by: str = "operator", **changes: Any) -> Action:
    return Action(
        id=f"{action}-{allocation.id}",
        subject=f"allocation/{allocation.id}",
        action=action,
        area="a",
        by=by,
        at=NOW,
        **changes,
    )


def advices(out: list[Allocation | Refusal]) -> list[Allocation]:
    assert all(isinstance(event, Allocation) for event in out), out
    return [event for event in out if isinstance(event, Allocation)]


def pairs(out: list[Allocation | Refusal]) -> dict[str, str]:
    """Return task -> unit of the new proposals."""
    return {a.task: a.unit for a in advices(out) if a.state == "proposed"}
