"""When a message that is due in event time goes out on the wall clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pace", "start_of_events"]

_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Pace:
    """Event time runs ``speed`` times as fast as the clock, but never ahead of it.

    Not ahead: gateways reject readings from the future. So a run that starts in the past catches
    up with the present and goes on in real time. ``speed`` infinite: as fast as it goes.
    All times in ms; ``wall_ms`` and ``event_ms`` are the same instant, the start.
    """

    wall_ms: float
    event_ms: int
    speed: float = 1.0

    def release(self, due_ms: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the wall clock times [ms] at which messages due at ``due_ms`` go out."""
        return np.maximum(self.wall_ms + (due_ms - self.event_ms) / self.speed, due_ms)

    def event_at(self, wall_ms: float) -> int:
        """Return the event time [ms] that the simulation has come to at a wall clock time."""
        return int(min(self.event_ms + (wall_ms - self.wall_ms) * self.speed, wall_ms))


def start_of_events(now_ms: int, speed: float, duration_s: float | None) -> int:
    """Return where event time starts unless it is given: so that it ends at the present [epoch ms].

    At real time that is now. Faster, a run of ``duration_s`` on the clock spans ``speed`` times
    as much; one without end starts a day ago and goes on in real time once it has caught up.
    """
    if speed <= 1:
        return now_ms
    if duration_s is None:
        return now_ms - _DAY_MS
    return now_ms - int(duration_s * 1000 * (speed - 1))
