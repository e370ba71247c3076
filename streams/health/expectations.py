"""What a healthy sensor of each kind may do: the declarations that the judges of health read.

A measure that is not declared here is not judged: lane, period and totals are constant by nature,
counters only grow, wind direction is circular. The figures are physics and the resolution of
common instruments, not fits to any data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "EFFECTIVE_LENGTH",
    "EXPECTATIONS",
    "Expected",
    "NoiseLaw",
    "StepLimit",
    "expected_measures",
    "needed_measures",
]

NoiseLaw = Literal["additive", "relative", "poisson", "sampled"]
"""How the scatter from reading to reading goes with the level: not at all, in proportion, with
its root (counts), or in proportion and with the root of 1 / vehicles (a mean over vehicles)."""


@dataclass(frozen=True)
class StepLimit:
    """The largest possible change: ``at_once`` plus ``per_minute`` times the time between."""

    at_once: float
    per_minute: float


@dataclass(frozen=True)
class Expected:
    """What to expect of one measure."""

    name: str
    still_s: float
    """How long a healthy sensor may well repeat one value."""
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


_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


def _gas(name: str, floor: float) -> Expected:
    return Expected(name, 30 * _MINUTE, noise="relative", neighbour_floor=floor, trivial=(0.0,))


EFFECTIVE_LENGTH = "effectiveLength"
"""Logarithm of that of vehicle and detection zone, as occupancy, count and speed imply it."""

EXPECTATIONS: dict[str, tuple[Expected, ...]] = {
    "traffic": (
        Expected(
            "intensity",
            10 * _MINUTE,
            trivial=(0.0,),
            noise="poisson",
            neighbour_floor=0.015,  # [veh/s], 54 vehicles an hour
            per="period",
        ),
        Expected(
            "averageVehicleSpeed",
            3 * _MINUTE,
            trivial=(0.0,),
            noise="sampled",
            neighbour_floor=2.5,
            weight="intensity",
        ),
        Expected("occupancy", 5 * _MINUTE, trivial=(0.0,), anomalies=False),
        Expected(
            EFFECTIVE_LENGTH,
            0.0,
            own_floor=0.05,  # 5 %; trucks come and go
            derived=True,
            anomalies=False,
            weight="intensity",
        ),
    ),
    "air": (
        _gas("pm25", 3.0),
        _gas("pm10", 5.0),
        _gas("no2", 5.0),
        _gas("o3", 6.0),
        _gas("co", 0.1),
        _gas("so2", 2.0),
    ),
    "noise": (
        Expected("LAeq", 10 * _MINUTE, noise="additive", neighbour_floor=1.5),
        Expected("LAmax", 10 * _MINUTE, anomalies=False),
    ),
    # Steps: the limits for erroneous one-minute values of the World Meteorological Organization's
    # guidelines on quality control for automatic stations (Zahumensky 2004).
    "weather": (
        Expected(
            "temperature",
            _HOUR,
            noise="additive",
            neighbour_floor=0.5,
            step=StepLimit(3.0, 3.0),
        ),
        Expected(
            "relativeHumidity",
            2 * _HOUR,
            trivial=(1.0,),  # fog
            noise="additive",
            neighbour_floor=0.03,
            step=StepLimit(0.15, 0.15),
        ),
        Expected(
            "windSpeed",
            30 * _MINUTE,
            trivial=(0.0,),
            noise="relative",
            neighbour_floor=1.0,
            step=StepLimit(20.0, 20.0),
        ),
        Expected("precipitation", _HOUR, trivial=(0.0,)),
        Expected(
            "atmosphericPressure",
            3 * _HOUR,
            noise="additive",
            neighbour_floor=0.5,
            step=StepLimit(2.0, 2.0),
        ),
    ),
    # A car park stands still all night, a full or an empty one for days.
    "parking": (
        Expected(
            "availableSpotNumber",
            14 * _HOUR,
            repeats=0.8,
            trivial=(0.0,),
            trivial_at="totalSpotNumber",
        ),
    ),
    "waste": (
        Expected("fillingLevel", 5 * _DAY, repeats=0.9, trivial=(0.0, 1.0), anomalies=False),
        Expected("temperature", 3 * _HOUR, noise="additive", neighbour_floor=3.0),
    ),
    "water": (
        Expected("level", 6 * _HOUR, noise="additive", neighbour_floor=0.1),
        Expected("flow", 6 * _HOUR, trivial=(0.0,)),
        Expected("pressure", 2 * _HOUR, noise="additive", neighbour_floor=0.15),
    ),
    "energy": (
        Expected("activePower", _HOUR, trivial=(0.0,), noise="relative"),
        Expected("voltage", 30 * _MINUTE, noise="additive", neighbour_floor=2.0),
    ),
}


def expected_measures(kind: str) -> tuple[Expected, ...]:
    """Return what is judged of ``kind``; nothing where it is not declared."""
    return EXPECTATIONS.get(kind, ())


def needed_measures(kind: str) -> tuple[str, ...]:
    """Return the names of the reported measures that judging ``kind`` reads."""
    names: dict[str, None] = {}
    for expected in expected_measures(kind):
        used = (None if expected.derived else expected.name, expected.per, expected.weight)
        for name in (*used, expected.trivial_at):
            if name is not None:
                names[name] = None
    return tuple(names)
