"""What a kind of observation declares of each measure: its range, its usual course, its health."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Contradiction", "Expected", "Measure", "NoiseLaw", "StepLimit"]

NoiseLaw = Literal["additive", "relative", "poisson", "sampled"]
"""How the scatter from reading to reading goes with the level: not at all, in proportion, with
its root (counts), or in proportion and with the root of 1 / vehicles (a mean over vehicles)."""


@dataclass(frozen=True)
class StepLimit:
    """The largest possible change: ``at_once`` plus ``per_minute`` times the time between."""

    at_once: float
    per_minute: float
    broken: str = ""
    """The sentence of a change that is larger, for people."""


@dataclass(frozen=True)
class Expected:
    """What a healthy sensor may do with one measure.

    The figures are physics and the resolution of common instruments, not fits to any data set.
    """

    name: str = ""
    """Of the measure; within a kind's declaration it goes without saying."""
    still_s: float = 86_400.0
    """So long a healthy sensor may well repeat one value."""
    repeats: float = 0.3
    """Share of readings that repeat the one before, until the sensor's own is known."""
    trivial: tuple[float, ...] = ()
    """Values that may stand for as long as they like: no traffic, no rain, no wind."""
    trivial_at: str | None = None
    """Measure whose value is trivial too: a car park may be empty, all spots free, all night."""
    noise: NoiseLaw | None = None
    """None: its scatter says nothing about its health."""
    neighbour_floor: float | None = None
    """A smaller deviation from the neighbours is never drift; None: neighbours say nothing."""
    own_floor: float | None = None
    """Like ``neighbour_floor``, of what is held against the sensor's own past instead."""
    derived: bool = False
    """Calculated from several measures; only its drift is judged."""
    anomalies: bool = True
    """Whether unusual values are worth an event."""
    per: str | None = None
    """Measure by which sums are divided: a count becomes a rate per second of its period."""
    weight: str | None = None
    """Measure that weighs the mean: a speed counts as often as vehicles were seen."""
    step: StepLimit | None = None


@dataclass(frozen=True)
class Contradiction:
    """Two measures of one reading that cannot both be right, though each is in its range.

    ``part`` is above ``factor`` times ``whole`` plus ``slack``.
    """

    broken: str
    """The sentence of it, for people."""
    part: str
    whole: str
    factor: float = 1.0
    slack: float = 0.0


@dataclass(frozen=True)
class Measure:
    """One measured quantity: its name, unit and the closed range that is physically possible."""

    name: str
    unit: str
    minimum: float = -math.inf
    maximum: float = math.inf
    required: bool = False
    integer: bool = False
    hint: str = ""
    """What a device that is out of range probably got wrong; ends the error message."""
    usual: tuple[float, float] | None = None
    """Between these it moves in a usual day: what a simulated sensor measures, unless
    ``sensors_sim/channels.py`` has a richer course. None: in the middle of the range."""
    expected: Expected | None = Expected(trivial=(0.0,))
    """None: its health is not judged; what is constant, a counter or circular by nature is not."""

    @property
    def column(self) -> str:
        """Database column: the name in snake case, e.g. ``average_vehicle_speed``."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in self.name).lstrip("_")

    @property
    def range_text(self) -> str:
        return f"{self.minimum:g}..{self.maximum:g}"

    @property
    def usual_range(self) -> tuple[float, float]:
        """Return ``usual``, or else a fifth of the range in its middle, or next to its one end."""
        if self.usual is not None:
            return self.usual
        low, high = self.minimum, self.maximum
        if math.isinf(low) and math.isinf(high):
            return 0.0, 1.0
        if math.isinf(low) or math.isinf(high):
            return (high - 1.0, high) if math.isinf(low) else (low, low + 1.0)
        return low + 0.4 * (high - low), low + 0.6 * (high - low)
