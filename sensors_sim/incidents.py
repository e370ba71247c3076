"""Random incidents: which segment loses how much of its capacity, from when to when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Incident", "IncidentPlan", "Incidents", "WithIncident"]

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Incident:
    """Ground truth of one incident; ``segment`` is an index into the city's segments."""

    id: str
    segment: int
    start_ms: int
    end_ms: int
    severity: float
    """Share of the segment's capacity that is lost, 0..1."""
    position: float = 0.5
    """Where in the segment, as a share of its length from upstream, 0..1."""


class Incidents(Protocol):
    """What says which incidents there are; asked for consecutive stretches of time."""

    def starting_between(self, start_ms: int, end_ms: int) -> list[Incident]:
        """Return the incidents with ``start_ms`` <= start < ``end_ms``."""
        ...


class IncidentPlan:
    """Incidents at random (Poisson) times, the same for every run with this seed.

    Each hour of the epoch is drawn by itself, so the plan does not depend on when a run starts.
    """

    def __init__(self, seed: int, per_hour: float, weights: NDArray[np.float64]) -> None:
        """``weights`` [segments]: how likely each is, e.g. its lane kilometres."""
        self._seed = seed
        self._per_hour = per_hour if weights.sum() > 0 else 0.0
        self._cumulative = np.cumsum(weights)

    def starting_in_hour(self, hour: int) -> list[Incident]:
        """Return the incidents that start in hour ``hour`` of the epoch, in order of start."""
        rng = np.random.default_rng([self._seed, 0x1C, hour])
        count = int(rng.poisson(self._per_hour))
        starts = np.sort(rng.integers(0, HOUR_MS, count)) + hour * HOUR_MS
        draws = rng.random(count) * (self._cumulative[-1] if count else 0.0)
        segments = np.searchsorted(self._cumulative, draws, side="right")
        # Median 25 minutes, one in twenty above an hour and a quarter (Giuliano 1989: lognormal).
        minutes = np.clip(rng.lognormal(np.log(25), 0.65, count), 4, 240)
        severity = np.round(rng.uniform(0.4, 0.95, count), 2)
        position = np.round(rng.random(count), 2)
        return [
            Incident(
                id=f"incident-{hour}-{i + 1}",
                segment=int(segments[i]),
                start_ms=int(starts[i]),
                end_ms=int(starts[i] + minutes[i] * 60_000),
                severity=float(severity[i]),
                position=float(position[i]),
            )
            for i in range(count)
        ]

    def starting_between(self, start_ms: int, end_ms: int) -> list[Incident]:
        """Return the incidents with ``start_ms`` <= start < ``end_ms``."""
        hours = range(start_ms // HOUR_MS, (end_ms - 1) // HOUR_MS + 1)
        found = [i for hour in hours for i in self.starting_in_hour(hour)]
        return [i for i in found if start_ms <= i.start_ms < end_ms]


@dataclass(frozen=True)
class WithIncident:
    """A plan with one incident more."""

    plan: Incidents
    incident: Incident

    def starting_between(self, start_ms: int, end_ms: int) -> list[Incident]:
        """Return the incidents with ``start_ms`` <= start < ``end_ms``, in order of start."""
        found = self.plan.starting_between(start_ms, end_ms)
        if start_ms <= self.incident.start_ms < end_ms:
            found = sorted([*found, self.incident], key=lambda i: i.start_ms)
        return found
