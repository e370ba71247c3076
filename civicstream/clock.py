"""Time as the contract counts it: integer milliseconds since 1970, UTC.

Two clocks: ``now_ms`` is the city's time, by which events are dated and by which retention,
silence, lateness and the future are judged; ``wall_ms`` is this machine's, for what the processes
report about themselves and for Kafka's record time stamps. They are the same unless the settings
declare a clock (``[clock]``): for a recording that is played faster than it was, or a simulated
city at another time of day. Waits, timeouts and pauses use neither but ``time.monotonic``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["REAL", "Clock", "city_clock", "declare", "now_ms", "rfc3339", "wall_ms"]


@dataclass(frozen=True)
class Clock:
    """City time: ``city_ms`` up to the machine's ``wall_ms``, from there ``speed`` times as fast.

    It is never ahead of the machine's clock: having caught up, it goes on in real time.
    """

    wall_ms: int = 0
    city_ms: int = 0
    speed: float = 1.0

    def at(self, wall_ms: float) -> int:
        """Return the city's time when the machine's is ``wall_ms``."""
        passed_ms = max(wall_ms - self.wall_ms, 0) * self.speed
        return int(min(self.city_ms + passed_ms, wall_ms))

    def speed_at(self, wall_ms: float) -> float:
        """Return how fast the city's time goes: 0 before it starts, 1 once it has caught up."""
        if wall_ms < self.wall_ms:
            return 0.0
        return 1.0 if self.at(wall_ms) >= int(wall_ms) else self.speed


REAL = Clock()

_clock = REAL


def declare(clock: Clock) -> None:
    """Make ``clock`` the city's clock of this process; to be called before anything reads it."""
    global _clock  # noqa: PLW0603 one clock for each process, like time.time
    _clock = clock


def city_clock() -> Clock:
    """Return the clock of this process."""
    return _clock


def now_ms() -> int:
    """Return the city's time."""
    return _clock.at(wall_ms())


def wall_ms() -> int:
    """Return this machine's time."""
    return time.time_ns() // 1_000_000


def rfc3339(ts_ms: int) -> str:
    """Return ``ts_ms`` as RFC 3339 with milliseconds, in UTC."""
    stamp = datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")
