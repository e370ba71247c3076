"""What an incident costs: severity, queue and delay."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streams.incidents.capacity import nominal_capacity_veh_h
from streams.incidents.open_incident import OpenIncident
from streams.incidents.view import View

__all__ = ["capacity_veh_h", "queue_upstream", "slow_segments", "update_figures", "usual_speed"]

Floats = NDArray[np.float64]

_SLOW = 0.65
"""Below this share of the usual speed a segment is queued."""

_LONGEST_QUEUE = 60
_SMOOTHING = 0.3


def capacity_veh_h(view: View) -> Floats:
    """Return each segment's capacity [n]: by class and lanes, or what is usual if that is more."""
    return np.fmax(nominal_capacity_veh_h(view.network), view.usual_flow)


def usual_speed(view: View) -> Floats:
    """Return the speed [n] to compare with: the usual one, free flow where none is learned."""
    free = view.network.free_flow_kmh
    return np.where(np.isnan(view.usual_speed), free, view.usual_speed)


def slow_segments(view: View) -> NDArray[np.bool_]:
    """Return which segments are queued now [n]."""
    slow: NDArray[np.bool_] = view.speed < _SLOW * usual_speed(view)
    return slow


def queue_upstream(view: View, incident: OpenIncident, slow: NDArray[np.bool_]) -> list[int]:
    """Return the segments of the queue: upstream of the incident, slow without a gap."""
    return view.pairs.reach([incident.upstream], upstream=True, limit=_LONGEST_QUEUE, through=slow)


def update_figures(
    incident: OpenIncident, view: View, queue: list[int], slow: NDArray[np.bool_]
) -> None:
    """Bring severity, queue and delay of an incident up to this window."""
    d = incident.downstream
    flow = float(view.flow[d])
    if view.fresh[d] and not math.isnan(flow):
        before = flow if incident.discharge is None else incident.discharge
        incident.discharge = before + _SMOOTHING * (flow - before)
    if incident.discharge is not None and incident.state in {"suspected", "confirmed"}:
        narrowest = float(capacity_veh_h(view)[[incident.upstream, d]].min())
        incident.severity = min(max(1 - incident.discharge / narrowest, 0.0), 1.0)
    queued = np.array([s for s in queue if slow[s]], np.intp)
    incident.queue_m = float(view.network.length_m[queued].sum())
    incident.delay_veh_h += _delay(view, np.array([*queue, d], np.intp))


def _delay(view: View, segments: NDArray[np.intp]) -> float:
    """Return the vehicle-hours lost in this window: flow * length * (1 / speed - 1 / usual)."""
    hours = (view.end - view.start) / 3_600_000
    km = view.network.length_m[segments] / 1000
    lost = 1 / np.maximum(view.speed[segments], 1.0) - 1 / usual_speed(view)[segments]
    delay = view.flow[segments] * hours * km * np.maximum(lost, 0.0)
    return float(np.nansum(delay[view.fresh[segments]]))
