"""How long one large round takes: 500 tasks, 200 units, a graph of some 5,000 segments."""

from __future__ import annotations

import time

import numpy as np

from civicstream.roads import RoadGraph
from civicstream.service_events import Priority, Task, Unit
from sensors_sim.city_plan import plan_city
from streams.dispatch.allocation import Dispatcher, DispatchSettings

__all__ = ["large_round", "matching_speed"]

TASKS, UNITS = 500, 200
SENSORS = 20_500
"""Of a city with some 4,900 segments, which crossings cut into many more edges."""

_SKILLS = ("road", "electric", "water", "cleaning", "tow")
_NOW_MS = 1_773_100_800_000
_HOUR_MS = 3_600_000


def matching_speed(rounds: int = 3) -> dict[str, object]:
    """Return the best of some rounds, travel times and explanations included."""
    clocks, processors, proposed = [], [], 0
    dispatcher = large_round()
    segments, edges = len(dispatcher.graph.city.segments), len(dispatcher.graph.head)
    for _ in range(rounds):
        clock, processor = time.perf_counter(), time.process_time()
        proposed = len(dispatcher.plan(_NOW_MS))
        clocks.append(time.perf_counter() - clock)
        processors.append(time.process_time() - processor)
        dispatcher = large_round(dispatcher.graph)
    return {
        "matching_tasks": TASKS,
        "matching_units": UNITS,
        "matching_segments": segments,
        "matching_edges": edges,
        "matching_proposals": proposed,
        "matching_s": round(min(clocks), 3),
        "matching_cpu_s": round(min(processors), 3),
    }


def large_round(graph: RoadGraph | None = None) -> Dispatcher:
    """Return a dispatcher that has everything before it and has planned nothing."""
    graph = graph or RoadGraph(plan_city(SENSORS, 1))
    city, rng = graph.city, np.random.default_rng(5)
    dispatcher = Dispatcher(city, DispatchSettings(), graph)
    free = np.array([s.free_flow_kmh for s in city.segments])
    slower = {m: free * rng.uniform(0.3, 1.0, len(free)) for m in (15, 30, 45, 60)}
    dispatcher.apply_speeds(free * rng.uniform(0.3, 1.0, len(free)), slower)
    outline = np.array([point for area in city.areas for point in area.outline])
    low, high = outline.min(axis=0), outline.max(axis=0)
    for number, (lon, lat) in enumerate(rng.uniform(low, high, (TASKS, 2)).tolist()):
        priorities: tuple[Priority, ...] = (1, 2, 3, 4)
        opened = _NOW_MS - int(rng.integers(0, _HOUR_MS))
        task = Task(
            id=f"case/{number}",
            area=city.areas[0].id,
            lon=lon,
            lat=lat,
            skill=_SKILLS[number % len(_SKILLS)],
            priority=priorities[int(rng.choice(4, p=(0.1, 0.2, 0.5, 0.2)))],
            weight=1.0,
            opened_at=opened,
            due_at=opened + 4 * _HOUR_MS,
            work_s=1800.0,
        )
        dispatcher.apply(task, _NOW_MS)
    for number, (lon, lat) in enumerate(rng.uniform(low, high, (UNITS, 2)).tolist()):
        skills = rng.choice(_SKILLS, 2, replace=False).tolist()
        unit = Unit(
            id=f"unit-{number}",
            area=city.areas[0].id,
            state="available",
            skills=skills,
            lon=lon,
            lat=lat,
            shift_end=_NOW_MS + 8 * _HOUR_MS,
            capacity=1.0,
            load=0.0,
            at=_NOW_MS,
        )
        dispatcher.apply(unit, _NOW_MS)
    return dispatcher
