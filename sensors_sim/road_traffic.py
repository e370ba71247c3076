"""Traffic on the roads of a city through the day: demand, incidents, cell transmission."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.local_time import LocalOffset, local_offset
from sensors_sim.cell_transmission import Cells, CellTransmission, wave_speed_kmh
from sensors_sim.demand import travel_demand, wander
from sensors_sim.disturbances import DisturbancePlan
from sensors_sim.incidents import Incident, IncidentPlan, Incidents, WithIncident

__all__ = ["RoadTraffic", "SegmentState"]

Floats = NDArray[np.float64]

STEP_S = 5.0
STEP_MS = 5_000
WARM_UP_MS = 30 * 60_000
"""Long enough for a vehicle to cross the city, so that the run starts in a settled state."""

JAM_VEH_KM_LANE = 140.0
_MAX_CELLS_PER_SEGMENT = 2

_DAY_SPREAD, _HALF_HOUR_SPREAD = 0.10, 0.12
"""How far a corridor's demand wanders from its usual course over days and over half an hour, as
a share of it: with the variance of ``wander`` 4 and 5 % as standard deviations, a little under
what is found on freeways from day to day."""

_SLOWER_AT_CAPACITY = 0.12
"""Drivers slow down as the road fills, which the triangular diagram leaves out (HCM 2010, exhibit
11-2: about an eighth below free flow at capacity)."""

_FREE_UNREST, _QUEUE_UNREST = 0.05, 0.30
"""How far a segment's speed wanders within minutes, as a share of it: 2 % in free flow and 13 %
in a queue, where it stops and goes, as standard deviations."""

_QUEUE_DISCHARGE, _QUEUED = 0.93, 1.3
"""A queue discharges into free road at less than the capacity of flowing traffic (HCM 2010 and
Yeon et al. 2009: 5 to 10 % less), once the density exceeds the critical one by so much."""

_STAGED_SEVERITY, _STAGED_MS, _STAGED_AMONG = 0.95, 30 * 60_000, 5
"""The incident that is staged for people who watch: a carriageway all but blocked for half an
hour, on one of the five fullest stretches of freeway."""

_STAGED_INSIDE = 3
"""So many segments from either end of its road: the queue behind it stays in the city."""

_RAMP_EVERY = 4
_BUSY_JUNCTION = 5


@dataclass(frozen=True)
class SegmentState:
    """Columns over the city's segments, now."""

    flow_veh_h: Floats
    """All lanes."""
    speed_kmh: Floats
    density_veh_km: Floats
    """All lanes."""


class RoadTraffic:
    """Steps the cell transmission model along event time, epoch-aligned steps of 5 s.

    ``incidents`` collects the ground truth: every incident that has begun so far.
    """

    def __init__(
        self,
        city: City,
        seed: int,
        start_ms: int,
        incidents_per_hour: float,
        incidents: Incidents | None = None,
        staged_ms: int | None = None,
        local: LocalOffset = local_offset("UTC"),
    ) -> None:
        """``incidents`` takes the place of random ones of the rate ``incidents_per_hour``.

        Demand follows the time of day that ``local`` gives.
        ``staged_ms``: at that time there is one more, on a road so full that it is seen at once.
        """
        self._local = local
        self._segment, self._cells = build_cells(city)
        rng = np.random.default_rng([seed, 0xC7])
        self._entry, self._morning = _plan_demand(city, self._segment, self._cells, rng)
        weights = np.array([s.lanes * s.length_m for s in city.segments], np.float64)
        self._plan = incidents or IncidentPlan(seed, incidents_per_hour, weights)
        self._disturbances = DisturbancePlan(seed, self._cells.length_km)
        self.incidents: list[Incident] = []
        self._active: list[Incident] = []
        self._corridor_phase, self._segment_phase = _phases(city, self._segment, seed)
        self._count = np.bincount(self._segment, minlength=len(city.segments)).clip(min=1)
        self._factor = np.ones(len(self._cells))
        self._now = (start_ms - WARM_UP_MS) // STEP_MS * STEP_MS
        self._model = CellTransmission(self._cells, STEP_S, self._settled_vehicles())
        cells = self._cells
        critical = cells.capacity_veh_h / cells.free_flow_kmh * cells.length_km
        self._queued_vehicles: Floats = _QUEUED * critical
        self._begin = start_ms
        self.advance_to(start_ms)
        if staged_ms is not None and len(city.segments):
            self._plan = WithIncident(self._plan, self._staged(city, staged_ms, rng))

    def _staged(self, city: City, start_ms: int, rng: np.random.Generator) -> Incident:
        length = Counter(s.corridor for s in city.segments)
        inside = np.array(
            [
                s.road_class == "freeway"
                and _STAGED_INSIDE <= s.position < length[s.corridor] - _STAGED_INSIDE
                for s in city.segments
            ]
        )
        filled = self._per_segment(self._model.flow_veh_h / self._cells.capacity_veh_h)
        fullest = np.argsort(np.where(inside, filled, filled - 1), kind="stable")[-_STAGED_AMONG:]
        end_ms = start_ms + _STAGED_MS
        return Incident("staged", int(rng.choice(fullest)), start_ms, end_ms, _STAGED_SEVERITY)

    def advance_to(self, ts_ms: int) -> None:
        """Step until the model's time is at or past ``ts_ms`` (less than one step past)."""
        while self._now < ts_ms:
            end = self._now + STEP_MS
            self._begin_incidents(self._now, end)
            self._model.step(self._demand(self._now), self._capacity_factor())
            self._now = end

    def state(self) -> SegmentState:
        """Return each segment's present state, the mean over its cells."""
        model, cells = self._model, self._cells
        filled = np.minimum(model.flow_veh_h / cells.capacity_veh_h, 1.0)
        speed = np.minimum(
            model.speed_kmh, cells.free_flow_kmh * (1 - _SLOWER_AT_CAPACITY * filled**3)
        )
        slow = 1 - self._per_segment(speed / cells.free_flow_kmh)
        unrest = _FREE_UNREST + (_QUEUE_UNREST - _FREE_UNREST) * slow
        speed_of_segment = self._per_segment(speed)
        return SegmentState(
            flow_veh_h=self._per_segment(model.flow_veh_h),
            speed_kmh=speed_of_segment * (1 + unrest * wander(self._now, self._segment_phase, 400)),
            density_veh_km=self._per_segment(model.density_veh_km),
        )

    def _per_segment(self, values: Floats) -> Floats:
        total = np.bincount(self._segment, values, minlength=len(self._count))
        mean: Floats = total / self._count
        return mean

    def _demand(self, ts_ms: int) -> Floats:
        """Return what wants to enter each cell now [veh/h]."""
        at = np.full(1, ts_ms + self._local(ts_ms), np.int64)
        usual = self._entry * travel_demand(at, self._morning)
        phase = self._corridor_phase
        demand: Floats = usual * (
            1
            + _DAY_SPREAD * wander(ts_ms, phase, 5 * 86_400)
            + _HALF_HOUR_SPREAD * wander(ts_ms, (phase * 7) % 1, 3_600)
        )
        return demand

    def _settled_vehicles(self) -> Floats:
        """Return vehicles per cell if each corridor carried its entry's demand all the way."""
        cells = self._cells
        first = np.append(True, cells.last[:-1])[: len(cells)]
        start = np.maximum.accumulate(np.where(first, np.arange(len(cells)), 0))
        flow = np.minimum(self._demand(self._now)[start], cells.capacity_veh_h)
        vehicles: Floats = flow / cells.free_flow_kmh * cells.length_km
        return vehicles

    def _begin_incidents(self, start_ms: int, end_ms: int) -> None:
        # The settled state before the run has no incidents: all of them are in the truth.
        if start_ms >= self._begin:
            found = self._plan.starting_between(start_ms, end_ms)
            self.incidents += found
            self._active += found
        going_on = [i for i in self._active if i.end_ms > start_ms]
        if len(going_on) != len(self._active) or any(i.start_ms >= start_ms for i in going_on):
            self._active = going_on
            self._factor = _capacity_factor(going_on, self._segment)

    def _capacity_factor(self) -> Floats:
        cell, severity = self._disturbances.active(self._now)
        factor = self._factor.copy()
        factor[cell] *= 1 - severity
        queued = self._model.vehicles > self._queued_vehicles
        factor[1:][queued[:-1] & ~self._cells.last[:-1]] *= _QUEUE_DISCHARGE
        return factor


def _capacity_factor(active: Iterable[Incident], segment_of_cell: NDArray[np.intp]) -> Floats:
    factor = np.ones(len(segment_of_cell))
    for incident in active:
        cells = np.flatnonzero(segment_of_cell == incident.segment)
        cell = min(int(incident.position * len(cells)), len(cells) - 1)
        factor[cells[cell]] *= 1 - incident.severity
    return factor


def _phases(city: City, segment: NDArray[np.intp], seed: int) -> tuple[Floats, Floats]:
    """Return where each cell's corridor and each segment are in their wander, 0..1."""
    rng = np.random.default_rng([seed, 0xF5])
    corridor = np.unique([s.corridor for s in city.segments], return_inverse=True)[1]
    of_corridor = rng.random(int(corridor.max(initial=-1)) + 1)
    return of_corridor[corridor][segment], rng.random(len(city.segments))


def build_cells(city: City) -> tuple[NDArray[np.intp], Cells]:
    """Return each cell's segment index [n] and the cells, corridor by corridor.

    Capacity per lane: freeways 2,200 veh/h (HCM 2010, rounded down for trucks), streets 850
    (1,900 through a signal that is green 45 % of the time), a fifth less before the busiest
    junction. A segment shorter than one step's
    drive counts as that long, or the model would be unstable.
    """
    segments = city.segments
    order = np.array(
        sorted(range(len(segments)), key=lambda i: (segments[i].corridor, segments[i].position)),
        np.intp,
    )
    free = np.array([s.free_flow_kmh for s in segments], np.float64)
    drive_km = free * STEP_S / 3600
    length = np.maximum([s.length_m / 1000 for s in segments], drive_km)
    pieces = np.minimum(length // drive_km, _MAX_CELLS_PER_SEGMENT).astype(np.intp)
    segment = np.repeat(order, pieces[order])
    lanes = np.array([s.lanes for s in segments], np.float64)
    freeway = np.array([s.road_class == "freeway" for s in segments], np.bool_)
    position = np.array([s.position for s in segments], np.intp)
    junction = np.where(position % 8 == _BUSY_JUNCTION, 0.8, 1.0)
    per_lane = np.where(freeway, 2_200.0, 850.0 * junction)
    corridor = np.unique([s.corridor for s in segments], return_inverse=True)[1]
    changes = np.diff(corridor[segment]) != 0
    ends_segment = np.append(np.diff(segment) != 0, True)
    off_ramp = ends_segment & (position[segment] % _RAMP_EVERY == _RAMP_EVERY // 2)
    cell_km = (length / pieces)[segment]
    return segment, Cells(
        length_km=cell_km,
        lanes=lanes[segment],
        free_flow_kmh=free[segment],
        capacity_veh_h=(per_lane * lanes)[segment],
        wave_kmh=wave_speed_kmh(free, per_lane, JAM_VEH_KM_LANE)[segment],
        jam_veh=JAM_VEH_KM_LANE * lanes[segment] * cell_km,
        exit_share=np.where(off_ramp, 0.12, 0.0),
        priority=np.full(len(segment), 0.8),
        last=np.append(changes, True) if len(segment) else np.zeros(0, np.bool_),
    )


def _plan_demand(
    city: City, segment: NDArray[np.intp], cells: Cells, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return each cell's peak demand from outside [veh/h] and the weight of its morning peak.

    A corridor's entry takes 50..105 % of its capacity in the peak; after each off-ramp an
    on-ramp puts back about what left.
    """
    position = np.array([s.position for s in city.segments], np.intp)[segment]
    corridor = np.unique([s.corridor for s in city.segments], return_inverse=True)[1][segment]
    count = int(corridor.max(initial=-1)) + 1
    load, morning = rng.uniform(0.5, 1.05, count), rng.uniform(0.7, 1.0, count)
    first = np.append(True, cells.last[:-1]) if len(segment) else np.zeros(0, np.bool_)
    entry_veh_h = np.zeros(count)
    entry_veh_h[corridor[first]] = (load[corridor] * cells.capacity_veh_h)[first]
    begins_segment = np.append(True, np.diff(segment) != 0)[: len(segment)]
    on_ramp = begins_segment & (position % _RAMP_EVERY == _RAMP_EVERY // 2 + 1) & ~first
    ramp = entry_veh_h[corridor] * 0.12 * rng.uniform(0.7, 1.3, len(segment))
    demand = np.where(first, entry_veh_h[corridor], np.where(on_ramp, ramp, 0.0))
    return demand, morning[corridor]
