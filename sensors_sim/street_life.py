"""Citizens and crews of a simulated city, live: on a thread and an MQTT connection of their own.

The readings have theirs; what people do never delays them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.clock import city_clock
from civicstream.errors import CivicStreamError
from civicstream.local_time import local_offset
from civicstream.roads import RoadGraph, RoadSpeeds
from civicstream.service_events import Allocation, Tour
from civicstream.services import load_services
from civicstream.settings import KafkaSettings, Settings
from sensors_sim.citizen_messages import report_message
from sensors_sim.citizen_reports import Citizens
from sensors_sim.crew_messages import crew_message
from sensors_sim.crew_roster import plan_crews
from sensors_sim.dispatch_tablet import DispatchTablet
from sensors_sim.fleet import CrewMessage, Fleet
from sensors_sim.incidents import Incident
from sensors_sim.pacing import Pace
from sensors_sim.publisher import Publisher
from sensors_sim.task_sites import TaskSites
from sensors_sim.trucks import Truck, plan_trucks
from sensors_sim.truth import ACKED

__all__ = ["People", "StreetLife"]

log = logging.getLogger(__name__)

_STEP_S = 0.5
_HISTORY_WITHIN_S = 10.0
"""How long crews wait at the start for what was decided before: who is free must not say so while
it is under way."""

_DRAIN_S = 5.0
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class People:
    """How many citizens report, and how many crews and waste trucks there are."""

    citizens: int = 0
    crews: int = 0
    trucks: int = 0
    """That empty waste containers."""

    def __bool__(self) -> bool:
        return bool(self.citizens or self.crews or self.trucks)


@dataclass
class _Receipt:
    """What became of one message."""

    state: bytearray
    resent: bytearray
    settled: Callable[[int], None]

    def settle(self, position: int, state: int) -> None:
        self.state[position] = state
        self.settled(state)


class StreetLife:
    """Use as a context manager; ``observe`` from the thread that simulates the roads."""

    def __init__(
        self,
        settings: Settings,
        city: City,
        people: People,
        pace: Pace,
        seed: int,
        wall_ms: Callable[[], float],
        empty: Callable[[int, int], float],
    ) -> None:
        """``wall_ms`` is the clock; ``empty`` empties the container of a sensor (index) at an
        event time and returns what was in it. Raises ConfigurationError for a wrong services
        file.
        """
        self._settings, self._city, self._people = settings, city, people
        self._pace, self._seed, self._wall_ms = pace, seed, wall_ms
        self._empty = empty
        self._services = load_services(settings.reports.services_file)
        self._seen: tuple[NDArray[np.float64] | None, Sequence[Incident]] = (None, ())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="street-life")
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._reports = self._crew_messages = self._confirmed = 0
        if people.citizens:
            self._citizens: Citizens | None = Citizens(
                city,
                self._services,
                seed,
                people.citizens,
                pace.event_ms,
                local_offset(settings.city.timezone),
            )
        else:
            self._citizens = None
        self._crews: _Crews | None = None

    def observe(self, speed_kmh: NDArray[np.float64] | None, incidents: Sequence[Incident]) -> None:
        """Take the roads' present speeds [segments] and all incidents so far."""
        self._seen = (speed_kmh, tuple(incidents))

    def __enter__(self) -> StreetLife:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> dict[str, int]:
        """Stop, wait for missing acks, and return the counts of messages."""
        self._stop.set()
        self._thread.join()
        return {
            "reports": self._reports,
            "crew_messages": self._crew_messages,
            "people_confirmed": self._confirmed,
        }

    def _live(self) -> None:
        publisher = Publisher(self._settings.mqtt, 1)
        try:
            if self._people.crews or self._people.trucks:
                self._crews = self._call_crews(self._people)
            publisher.connect(self._stop)
            while not self._stop.is_set():
                until = time.monotonic() + _STEP_S
                self._step()
                self._speak(publisher, until)
            self._send(publisher)
            publisher.drain(_DRAIN_S)
        except CivicStreamError as error:
            log.error("citizens and crews fall silent: %s", error)  # noqa: TRY400
        finally:
            if self._crews is not None:
                self._crews.tablet.close()
            publisher.disconnect()

    def _call_crews(self, people: People) -> _Crews:
        """Return crews and trucks on duty; building the graph takes seconds in a large city."""
        graph = RoadGraph(self._city)
        sites = TaskSites(graph, self._services)
        now = self._pace.event_at(self._wall_ms())
        plans = plan_crews(self._city, self._services, people.crews, self._seed, now)
        patience = round(_TIMEOUT_S * 1000 * self._pace.speed)
        fleet = Fleet(plans, graph, sites, self._seed, now, patience)
        trucks = [
            Truck(plan, graph, self._empty_container, now)
            for plan in plan_trucks(self._city, people.trucks, self._seed, now)
        ]
        return _Crews(self._settings.kafka, fleet, graph, sites, trucks)

    def _empty_container(self, sensor_key: int, at_ms: int) -> float:
        sensor = int(self._city.find_sensors(np.array([sensor_key]))[0])
        return self._empty(sensor, at_ms) if sensor >= 0 else 0.0

    def _step(self) -> None:
        wall = self._wall_ms()
        now = self._pace.event_at(wall)
        speeds, incidents = self._seen
        root = self._settings.mqtt.root
        if self._citizens is not None:
            reports = self._citizens.due(now, incidents)
            self._waiting += [report_message(r, self._services, root) for r in reports]
            self._reports += len(reports)
        if self._crews is not None:
            problems = self._citizens.problems if self._citizens is not None else ()
            self._crews.sites.problems, self._crews.sites.incidents = problems, incidents
            messages = self._crews.advance(now, speeds)
            self._waiting += [crew_message(one, root, city_clock().at(wall)) for one in messages]
            self._crew_messages += len(messages)

    def _speak(self, publisher: Publisher, until: float) -> None:
        """Send what waits, in order, and keep the connection alive until then (monotonic) [s]."""
        while not self._stop.is_set():
            self._send(publisher)
            left = until - time.monotonic()
            if left <= 0:
                return
            publisher.turn(min(left, 0.1))

    def _send(self, publisher: Publisher) -> None:
        link = publisher.links[0]
        while self._waiting and link.room > 0:
            topic, payload = self._waiting.popleft()
            link.publish(topic, payload, _Receipt(bytearray(1), bytearray(1), self._settled), 0)

    def _settled(self, state: int) -> None:
        self._confirmed += state == ACKED


class _Crews:
    """The fleet and the trucks with their tablet and what they know of the roads."""

    def __init__(
        self,
        kafka: KafkaSettings,
        fleet: Fleet,
        graph: RoadGraph,
        sites: TaskSites,
        trucks: Sequence[Truck],
    ) -> None:
        self.tablet = DispatchTablet(kafka)
        self.sites = sites
        self._fleet, self._graph = fleet, graph
        self._trucks = {truck.plan.id: truck for truck in trucks}
        self._speeds = RoadSpeeds.free_flow(graph)
        self._known: NDArray[np.float64] | None = None
        self._wait_until = time.monotonic() + _HISTORY_WITHIN_S

    def advance(self, now_ms: int, speed_kmh: NDArray[np.float64] | None) -> list[CrewMessage]:
        """Return what crews say, having taken in what was decided and moved on to ``now_ms``."""
        if speed_kmh is not None and speed_kmh is not self._known:
            self._known = speed_kmh
            self._speeds = RoadSpeeds.of(self._graph, speed_kmh, {})
        self.sites.now_ms = now_ms
        news = self.tablet.poll()
        if self._wait_until and not self.tablet.reads and time.monotonic() < self._wait_until:
            return []
        self._wait_until = 0.0
        messages: list[CrewMessage] = []
        for event in news:
            if isinstance(event, Allocation):
                messages += self._fleet.assign(event, self._speeds, now_ms)
            elif isinstance(event, Tour):
                truck = self._trucks.get(event.unit)
                messages += truck.receive(event, self._speeds, now_ms) if truck else []
            else:
                self.sites.learn(event)
        seconds = self._speeds.seconds[0]
        for truck in self._trucks.values():
            messages += truck.advance(now_ms, seconds, self._speeds)
        return messages + self._fleet.advance(now_ms, seconds, self._speeds)
