"""``civicstream simulate``: a simulated city that publishes over MQTT."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from civicstream.city import City
from civicstream.clock import REAL, city_clock, rfc3339, wall_ms
from civicstream.errors import ConfigurationError
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from sensors_sim.broadcast import Broadcast
from sensors_sim.incidents import Incident
from sensors_sim.messages import Block
from sensors_sim.pacing import Pace, start_of_events
from sensors_sim.progress import show_progress
from sensors_sim.publisher import Publisher
from sensors_sim.sensor_faults import BrokenSensor
from sensors_sim.simulation import Simulation, SimulationPlan, choose_sensors, history_blocks
from sensors_sim.street_life import People, StreetLife
from sensors_sim.truth import Truth

__all__ = ["Run", "connected", "publish_blocks", "simulate"]

log = logging.getLogger(__name__)

_DRAIN_S = 10.0
"""How long the end waits for missing acks; what is not acked by then is unacked in the truth."""


@dataclass(frozen=True)
class Run:
    """How to publish, whatever it is."""

    connections: int = 2
    duration_s: float | None = None
    truth: Path | None = None
    truth_readings: bool = True
    """Whether every reading is part of the truth, not only what happened."""
    people: People = field(default_factory=People)


def simulate(
    settings: Settings,
    city: City,
    plan: SimulationPlan,
    run: Run,
    start_ms: int | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Publish the city of ``plan`` until ``run.duration_s`` is over or ``stop`` is set.

    ``start_ms``: event time at the start, by default so that it ends at the present. Where the
    settings declare a clock, it is that clock which says so, and how fast event time goes.
    Returns the counts that the truth folder's counts.json holds.
    """
    plan = _by_city_clock(plan, start_ms)
    choose_sensors(city, plan)  # what cannot work should say so before it waits for a broker
    stop = stop or stop_on_signals()
    with connected(settings, run, stop) as publisher:
        started, clock = wall_ms(), city_clock()
        event_ms = clock.at(started) if start_ms is None else start_ms
        if start_ms is None and clock == REAL:
            event_ms = start_of_events(started, plan.speed, run.duration_s)
        simulation = Simulation(city, plan, event_ms)
        log.info(
            "%d sensors, %d segments, event time from %s at %g x, %.0f readings/s, seed %d",
            len(city.sensors),
            len(city.segments),
            rfc3339(event_ms),
            plan.speed,
            simulation.readings_per_event_s * plan.speed,
            plan.seed,
        )
        pace = Pace(started, event_ms, plan.speed)
        with _streets(settings, city, run.people, pace, plan.seed, simulation) as streets:
            return publish_blocks(
                settings,
                city,
                run,
                publisher,
                chain(history_blocks(city, plan, event_ms), _observed(simulation, streets)),
                pace,
                stop,
                incidents=lambda: simulation.incidents,
                about=lambda: {"withheld": simulation.withheld} | _counts_of(streets),
                batch=plan.batch,
                broken=simulation.broken_sensors,
            )


def _by_city_clock(plan: SimulationPlan, start_ms: int | None) -> SimulationPlan:
    """Return the plan at the speed of the city's clock; raise where it wants another one."""
    clock = city_clock()
    if clock == REAL:
        return plan
    if plan.speed != 1 or start_ms is not None:
        raise ConfigurationError(
            "--speed, --start: the settings declare the city's clock (section clock), which says "
            "when and how fast; leave them out"
        )
    return replace(plan, speed=clock.speed)


@contextlib.contextmanager
def _streets(
    settings: Settings, city: City, people: People, pace: Pace, seed: int, simulation: Simulation
) -> Iterator[StreetLife | None]:
    """Yield citizens and crews while they live, None without any."""
    if not people:
        yield None
        return
    since = time.monotonic()

    def clock_ms() -> float:
        return pace.wall_ms + (time.monotonic() - since) * 1000

    empty = simulation.empty_container
    with StreetLife(
        settings=settings,
        city=city,
        people=people,
        pace=pace,
        seed=seed,
        wall_ms=clock_ms,
        empty=empty,
    ) as streets:
        yield streets


def _observed(simulation: Simulation, streets: StreetLife | None) -> Iterator[Block]:
    """Yield the blocks, and let those on the streets see the roads of each."""
    for block in simulation.blocks():
        if streets is not None:
            streets.observe(simulation.road_speeds_kmh(), simulation.incidents)
        yield block


def _counts_of(streets: StreetLife | None) -> dict[str, int]:
    """Stop those on the streets and return what they sent."""
    return streets.finish() if streets is not None else {}


@contextlib.contextmanager
def connected(settings: Settings, run: Run, stop: threading.Event) -> Iterator[Publisher]:
    """Yield a publisher whose connections stand; wait for the broker as long as it takes."""
    publisher = Publisher(settings.mqtt, run.connections)
    try:
        publisher.connect(stop)
        yield publisher
    finally:
        publisher.disconnect()


def publish_blocks(
    settings: Settings,
    city: City,
    run: Run,
    publisher: Publisher,
    blocks: Iterable[Block],
    pace: Pace,
    stop: threading.Event,
    incidents: Callable[[], list[Incident]],
    about: Callable[[], dict[str, Any]],
    batch: int,
    broken: Sequence[BrokenSensor] = (),
) -> dict[str, Any]:
    """Publish the blocks, wait for the acks, write the truth, return its counts.

    ``run.duration_s`` counts from the start of ``pace``: the same messages go out however long
    preparing them took. ``incidents`` are those begun so far, noted in the truth block by block;
    ``about`` joins the counts at the end.
    """
    truth = Truth(city, run.truth, readings=run.truth_readings)
    truth.breaks(broken)
    started, since = wall_ms(), time.monotonic()

    def clock_ms() -> float:
        # Steps of the system clock must not burst or stall the publication.
        return started + (time.monotonic() - since) * 1000

    def counts() -> tuple[int, int]:
        return broadcast.published * batch, publisher.acked * batch

    def noted() -> Iterator[Block]:
        for block in blocks:
            truth.happened(pace.event_ms, block.end_ms, incidents())
            yield block

    with show_progress(counts) as progress:
        broadcast = Broadcast(
            city=city,
            root=settings.mqtt.root,
            publisher=publisher,
            truth=truth,
            wall_ms=clock_ms,
            stop=stop,
            on_turn=progress.tick,
        )
        until = np.inf if run.duration_s is None else pace.wall_ms + run.duration_s * 1000
        try:
            broadcast.run(noted(), pace, until)
            missing = publisher.drain(_DRAIN_S)
        finally:
            span = {"started_at": started, "ended_at": int(clock_ms())}
            totals = truth.close(about() | span)
    if missing:
        log.warning("%d messages were not acked within %g s of the end", missing, _DRAIN_S)
    log.info("published %d readings, %d acked", totals["published"], totals["acked"])
    return totals
