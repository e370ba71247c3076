"""The simulated city as an endless run of blocks of messages; the same seed, the same blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City, Sensors
from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS
from civicstream.local_time import local_offset
from sensors_sim.channels import TRAITS, measure_channel
from sensors_sim.containers import Containers
from sensors_sim.detectors import Detectors
from sensors_sim.faults import FaultRates, Faults
from sensors_sim.incidents import Incident
from sensors_sim.messages import Block, Messages
from sensors_sim.road_traffic import RoadTraffic
from sensors_sim.schedule import Schedule, interval_scale
from sensors_sim.sensor_faults import BrokenSensor, SensorFaultPlan, SensorFaults

__all__ = ["Simulation", "SimulationPlan", "choose_sensors", "history_blocks"]

_BUSY = 2_000
"""Above so many readings per second of event time a block is 1 s long, else 5 s: long enough
to be worth vectorising, short enough that making one never delays the publisher."""


@dataclass(frozen=True)
class SimulationPlan:
    """What to simulate. ``rate`` [readings/s on the wall clock] None keeps the city's intervals."""

    seed: int = 1
    rate: float | None = None
    speed: float = 1.0
    kinds: tuple[str, ...] = tuple(KINDS)
    batch: int = 1
    incidents_per_hour: float = 4.0
    staged_after_s: float | None = None
    """This time after the start there is one more incident, where it is seen at once."""
    faults: FaultRates = field(default_factory=FaultRates)
    sensor_faults: SensorFaultPlan = field(default_factory=SensorFaultPlan)
    history_s: float = 0.0
    """So much of what was before the start is published first, see ``history_blocks``."""
    timezone: str = "UTC"
    """IANA name: the city lives by its local time."""
    collected: bool = False
    """Waste containers are emptied by trucks; else each by itself when it is full."""

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise ConfigurationError(
                f"--kinds {','.join(unknown)}: no such kind; there are {', '.join(KINDS)}"
            )


class Simulation:
    """Makes the city's messages from ``start_ms`` (event time) on, block by block."""

    def __init__(self, city: City, plan: SimulationPlan, start_ms: int) -> None:
        sensors = city.sensors
        chosen, scale = choose_sensors(city, plan)
        self.readings_per_event_s = float(np.sum(1 / sensors.interval_s[chosen]) / scale)
        self._plan = plan
        self._start = start_ms
        self._local = local_offset(plan.timezone)
        self._schedules = _schedules(sensors, plan, chosen, scale, start_ms)
        rng = np.random.default_rng([plan.seed, 0x51])
        self._traits = rng.random((TRAITS, len(sensors)))
        self._containers = Containers(self._traits, start_ms) if plan.collected else None
        self._faults = Faults(plan.faults, len(sensors), rng)
        self._broken = SensorFaults(
            plan.sensor_faults, sensors, chosen, start_ms, np.random.default_rng([plan.seed, 0xB5])
        )
        self._detectors = Detectors(city) if "traffic" in plan.kinds else None
        self._roads = (
            RoadTraffic(
                city,
                plan.seed,
                start_ms,
                plan.incidents_per_hour,
                staged_ms=_staged(plan, start_ms),
                local=self._local,
            )
            if "traffic" in plan.kinds
            else None
        )
        self._held: dict[str, Messages] = {}

    @property
    def incidents(self) -> list[Incident]:
        """The incidents that have begun so far."""
        return self._roads.incidents if self._roads else []

    def road_speeds_kmh(self) -> NDArray[np.float64] | None:
        """Return the present speed on each segment [segments]; None where none are simulated."""
        return self._roads.state().speed_kmh if self._roads else None

    def empty_container(self, sensor: int, at_ms: int) -> float:
        """Empty the container of a sensor (index) at a time; return what share was filled."""
        return 0.0 if self._containers is None else self._containers.empty(sensor, at_ms)

    @property
    def broken_sensors(self) -> list[BrokenSensor]:
        """The sensors that break in the course of the run, or will."""
        return self._broken.broken

    @property
    def withheld(self) -> int:
        """Readings of late messages whose time to be published has not come yet."""
        return sum(len(m) * m.batch for m in self._held.values())

    def blocks(self, length_ms: int | None = None) -> Iterator[Block]:
        """Yield the messages due in each stretch of event time, for ever.

        ``length_ms`` of a stretch: by default as suits publishing them.
        """
        length = length_ms or (1_000 if self.readings_per_event_s > _BUSY else 5_000)
        begin, number = self._start, 0
        while True:
            end = begin + length
            yield self._block(number, begin, end)
            begin, number = end, number + 1

    def _block(self, number: int, begin: int, end: int) -> Block:
        if self._roads:
            self._roads.advance_to(begin)
        groups, dropped = [], 0
        for kind, schedules in self._schedules.items():
            rng = np.random.default_rng([self._plan.seed, number, Sensors.kind_names.index(kind)])
            fresh = [self._measure(kind, schedule, begin, end, rng) for schedule in schedules]
            measured, silent = self._broken.apply(Messages.join(fresh))
            spoilt, lost = self._faults.apply(measured, rng)
            dropped += silent + lost
            groups.append(self._hold_back(kind, spoilt, end))
        return Block(tuple(groups), end, dropped)

    def _measure(
        self, kind: str, schedule: Schedule, begin: int, end: int, rng: np.random.Generator
    ) -> Messages:
        sensor, ts = schedule.due(begin, end)
        flat_sensor, flat_ts = np.repeat(sensor, ts.shape[1]), ts.reshape(-1)
        if self._detectors and self._roads and kind == "traffic":
            period = np.full(len(flat_ts), min(round(schedule.interval_ms / 1000, 3), 3600.0))
            values = self._detectors.measure(flat_sensor, period, self._roads.state(), rng)
        else:
            traits = self._traits[:, flat_sensor]
            values = measure_channel(kind, traits, flat_ts, rng, self._local(begin))
            if kind == "waste" and self._containers is not None:
                values[0] = np.round(self._containers.levels(flat_sensor, flat_ts), 3)
        return Messages.good(KINDS[kind], sensor, ts, values.reshape(len(values), *ts.shape))

    def _hold_back(self, kind: str, messages: Messages, end: int) -> Messages:
        """Return what is due before ``end``, of these messages and of those held before."""
        held: Messages | None = self._held.get(kind)
        everything = Messages.join([held, messages]) if held is not None else messages
        later = everything.due >= end
        if not later.any():
            self._held.pop(kind, None)
            return everything
        self._held[kind] = everything.take(later)
        return everything.take(~later)


def choose_sensors(city: City, plan: SimulationPlan) -> tuple[NDArray[np.intp], float]:
    """Return which of the city's sensors report and the factor on their intervals.

    Raises ConfigurationError where the city and the plan do not fit, before anything is sent.
    """
    sensors = city.sensors
    codes = [Sensors.kind_names.index(kind) for kind in plan.kinds]
    chosen = np.flatnonzero(np.isin(sensors.kind, codes))
    if not len(chosen):
        raise ConfigurationError(f"the city has no sensors of the kinds {', '.join(plan.kinds)}")
    return chosen, interval_scale(sensors.interval_s[chosen], plan.rate, plan.speed)


def history_blocks(city: City, plan: SimulationPlan, until_ms: int) -> Iterator[Block]:
    """Yield what the traffic detectors reported in the ``plan.history_s`` before ``until_ms``.

    At their own intervals and without incidents: some thousands of readings, from which what is
    usual on each road is known when the simulation begins.
    """
    before = replace(
        plan,
        rate=None,
        kinds=("traffic",),
        incidents_per_hour=0.0,
        staged_after_s=None,
        faults=FaultRates(),
        sensor_faults=SensorFaultPlan(),
    )
    if not plan.history_s or "traffic" not in plan.kinds:
        return
    length_ms = 5_000
    first = until_ms - round(plan.history_s * 1000) // length_ms * length_ms
    blocks = Simulation(city, before, first).blocks(length_ms)
    yield from islice(blocks, (until_ms - first) // length_ms)


def _staged(plan: SimulationPlan, start_ms: int) -> int | None:
    after_s = plan.staged_after_s
    return None if after_s is None else start_ms + round(after_s * 1000)


def _schedules(
    sensors: Sensors,
    plan: SimulationPlan,
    chosen: NDArray[np.intp],
    scale: float,
    start_ms: int,
) -> dict[str, list[Schedule]]:
    rng = np.random.default_rng([plan.seed, 0x5C])
    schedules: dict[str, list[Schedule]] = {}
    for code in np.unique(sensors.kind[chosen]).tolist():
        of_kind = chosen[sensors.kind[chosen] == code]
        schedules[Sensors.kind_names[code]] = [
            Schedule(
                of_kind[sensors.interval_s[of_kind] == interval],
                interval * scale,
                start_ms,
                plan.batch,
                rng,
            )
            for interval in np.unique(sensors.interval_s[of_kind]).tolist()
        ]
    return schedules
