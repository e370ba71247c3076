"""The cell transmission model, all cells of all corridors at once.

C. F. Daganzo, "The cell transmission model" (Transportation Research B 28, 1994) and "part II:
network traffic" (B 29, 1995): each step a cell sends what its vehicles and its capacity allow,
the next one receives what its capacity and its free room allow, and the smaller of the two
moves. The fundamental diagram is triangular: flow = min(v k, Q, w (k_jam - k)). On-ramps merge
with priorities (1995, section 3.2), off-ramps take a fixed share. No client library, no clock,
no randomness: vehicles in, vehicles out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CellTransmission", "Cells", "wave_speed_kmh"]

Floats = NDArray[np.float64]


def wave_speed_kmh(
    free_flow_kmh: Floats, capacity_veh_h_lane: Floats, jam_veh_km_lane: float
) -> Floats:
    """Return the speed [km/h, positive] at which congestion travels upstream."""
    critical = capacity_veh_h_lane / free_flow_kmh
    wave: Floats = capacity_veh_h_lane / (jam_veh_km_lane - critical)
    return wave


@dataclass(frozen=True)
class Cells:
    """Columns of n cells. Cell i feeds cell i + 1 unless ``last[i]``.

    Needs ``free_flow_kmh * step <= length_km`` and ``wave_kmh <= free_flow_kmh`` in every cell;
    then the number of vehicles in it stays within 0..jam.
    """

    length_km: Floats
    lanes: Floats
    free_flow_kmh: Floats
    capacity_veh_h: Floats
    """Of all lanes together."""
    wave_kmh: Floats
    jam_veh: Floats
    """Vehicles the full cell holds."""
    exit_share: Floats
    """Share of a cell's outflow that leaves by an off-ramp at its end, below 1."""
    priority: Floats
    """Share of a full cell's intake that the mainline gets when an on-ramp competes, 0..1."""
    last: NDArray[np.bool_]
    """The end of a corridor: what it sends leaves freely."""

    def __len__(self) -> int:
        return len(self.length_km)


class CellTransmission:
    """The vehicles in each cell, moved on by ``step``; counts are real numbers, not integers."""

    def __init__(self, cells: Cells, step_s: float, vehicles: Floats | None = None) -> None:
        """Start with ``vehicles`` in the cells (default none); raise ValueError if unstable."""
        step_h = step_s / 3600
        if np.any(cells.free_flow_kmh * step_h > cells.length_km * (1 + 1e-9)):
            raise ValueError("a cell is shorter than a vehicle drives in one step (CFL condition)")
        if np.any(cells.wave_kmh > cells.free_flow_kmh):
            raise ValueError("a cell's wave speed is above its free-flow speed")
        self.cells = cells
        self.step_h = step_h
        n = len(cells)
        self.vehicles: Floats = np.zeros(n) if vehicles is None else vehicles.astype(np.float64)
        self.queue: Floats = np.zeros(n)
        """Vehicles waiting to enter each cell from outside."""
        self.outflow: Floats = np.zeros(n)
        """Vehicles that left each cell in the last step."""
        self.entered = 0.0
        self.left = 0.0
        self._keep = 1 - cells.exit_share
        self._drain = np.minimum(cells.free_flow_kmh * step_h / cells.length_km, 1.0)
        self._fill = np.minimum(cells.wave_kmh * step_h / cells.length_km, 1.0)
        self._first = np.concatenate(([True], cells.last[:-1])) if n else np.zeros(0, np.bool_)
        self._feeds = ~cells.last

    def step(self, demand_veh_h: Floats, capacity_factor: Floats) -> None:
        """Move on by one step.

        ``demand_veh_h`` [n] wants to enter each cell from outside; what finds no room waits.
        ``capacity_factor`` [n], 0..1, scales each cell's capacity (1: no incident).
        """
        cells, capacity = self.cells, self.cells.capacity_veh_h * self.step_h * capacity_factor
        sending = np.minimum(self.vehicles * self._drain, capacity)
        receiving = np.minimum(capacity, (cells.jam_veh - self.vehicles) * self._fill)
        mainline = np.concatenate(([0.0], (sending * self._keep)[:-1]))
        mainline[self._first] = 0.0
        waiting = self.queue + demand_veh_h * self.step_h
        through, merged = _merge(mainline, waiting, receiving, cells.priority)
        outflow = sending.copy()
        outflow[:-1][self._feeds[:-1]] = (through[1:] / self._keep[:-1])[self._feeds[:-1]]
        self.vehicles += through + merged - outflow
        self.queue = waiting - merged
        self.outflow = outflow
        self.entered += float(merged.sum())
        self.left += float(outflow.sum() - through.sum())

    @property
    def flow_veh_h(self) -> Floats:
        """Outflow of the last step as a rate [n]."""
        flow: Floats = self.outflow / self.step_h
        return flow

    @property
    def density_veh_km(self) -> Floats:
        """Vehicles per kilometre of road, all lanes [n]."""
        density: Floats = self.vehicles / self.cells.length_km
        return density

    @property
    def speed_kmh(self) -> Floats:
        """Space-mean speed by the triangular diagram: flow / density [n]; empty cells run free."""
        cells, density = self.cells, self.density_veh_km
        congested = cells.wave_kmh * (cells.jam_veh / cells.length_km - density)
        flow = np.minimum(congested, self.flow_veh_h)
        speed = np.divide(flow, density, out=cells.free_flow_kmh.copy(), where=density > 1e-6)
        return np.clip(speed, 0.0, cells.free_flow_kmh)


def _merge(mainline: Floats, ramp: Floats, room: Floats, priority: Floats) -> tuple[Floats, Floats]:
    """Return what enters from the mainline and from the ramp (Daganzo 1995, equation 9)."""
    fits = mainline + ramp <= room
    through = np.where(fits, mainline, _middle(mainline, room - ramp, priority * room))
    merged = np.where(fits, ramp, _middle(ramp, room - mainline, (1 - priority) * room))
    return through, merged


def _middle(a: Floats, b: Floats, c: Floats) -> Floats:
    middle: Floats = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return middle
