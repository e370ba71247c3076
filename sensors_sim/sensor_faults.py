"""Sensors that break and stay broken: which, how and from when on is drawn once, by the seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import Sensors
from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS, Kind, Measure
from sensors_sim.messages import Messages

__all__ = ["SENSOR_FAULTS", "BrokenSensor", "SensorFaultPlan", "SensorFaults"]

Floats = NDArray[np.float64]

SENSOR_FAULTS = ("stuck", "flat", "impossible", "silent", "slow_clock", "drifting", "biased")

_HOUR_MS = 3_600_000.0

_FLAT_SHARE = 0.03
"""What is left of the movement of a flat sensor."""

_SLOW_CLOCK_S = (20.0, 300.0)

_DRIFT_PER_HOUR = {
    "traffic": ("averageVehicleSpeed", 4.0),
    "air": ("no2", 4.0),
    "noise": ("LAeq", 1.5),
    "weather": ("temperature", 0.6),
    "waste": ("temperature", 4.0),
    "water": ("pressure", 0.2),
    "energy": ("voltage", 2.0),
}
"""The measure that drifts, and how fast; a biased one jumps by eight hours of that at once. Of a
kind that is not named, see ``_drift_per_hour``."""
_DRIFT_SHARE = 0.1

_BIAS_HOURS = 8.0


@dataclass(frozen=True)
class SensorFaultPlan:
    """``share`` of the sensors break within ``within_h`` after ``after_h``, for ``last_h``."""

    share: float = 0.0
    faults: tuple[str, ...] = SENSOR_FAULTS
    after_h: float = 0.0
    within_h: float = 1.0
    last_h: float = np.inf

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ConfigurationError(
                f"--broken-sensors {self.share:g} is outside 0..1 (expected a share, not percent)"
            )
        unknown = [fault for fault in self.faults if fault not in SENSOR_FAULTS]
        if unknown or not self.faults:
            raise ConfigurationError(
                f"--sensor-faults {','.join(unknown)}: no such fault; "
                f"there are {', '.join(SENSOR_FAULTS)}"
            )


@dataclass(frozen=True)
class BrokenSensor:
    """The truth about one sensor; ``sensor`` is an index into the city's sensors."""

    sensor: int
    fault: str
    start_ms: int
    end_ms: int | None
    size: float
    """Of a slow clock seconds, of drift the direction, else 0."""


class SensorFaults:
    """Breaks what the chosen sensors measure; keeps the last good values of those that are."""

    def __init__(
        self,
        plan: SensorFaultPlan,
        sensors: Sensors,
        reporting: NDArray[np.intp],
        start_ms: int,
        rng: np.random.Generator,
    ) -> None:
        """``reporting`` are the sensors that the run simulates; others cannot break."""
        chosen = reporting[rng.random(len(reporting)) < plan.share]
        self.broken = [_break(plan, sensors, int(i), start_ms, rng) for i in chosen.tolist()]
        self._row = np.full(len(sensors) + 1, -1, np.intp)
        self._row[chosen] = np.arange(len(chosen))
        self._held: dict[int, Floats] = {}

    def apply(self, messages: Messages) -> tuple[Messages, int]:
        """Return the messages as the broken sensors send them, and how many readings they swallow.

        Messages of one sensor must come in order of time.
        """
        if not self.broken or not len(messages):
            return messages, 0
        row = self._row[messages.sensor]
        affected = np.flatnonzero(row >= 0)
        if not len(affected):
            return messages, 0
        measures, ts = messages.measures.copy(), messages.ts.copy()
        kept = np.ones(len(messages), np.bool_)
        for i in affected[np.argsort(ts[affected, 0], kind="stable")].tolist():
            broken = self.broken[row[i]]
            at = int(ts[i, -1])
            if at < broken.start_ms or (broken.end_ms is not None and at >= broken.end_ms):
                self._held[broken.sensor] = measures[:, i, -1].copy()
            elif broken.fault == "silent":
                kept[i] = False
            elif broken.fault == "slow_clock":
                ts[i] -= int(broken.size * 1000)
            else:
                held = self._held.setdefault(broken.sensor, measures[:, i, 0].copy())
                measures[:, i] = _spoil(messages.kind, broken, measures[:, i], held, ts[i])
        spoilt = Messages(
            kind=messages.kind,
            sensor=messages.sensor,
            ts=ts,
            measures=measures,
            due=messages.due,
            fault=messages.fault,
            malformation=messages.malformation,
        )
        swallowed = int(np.count_nonzero(~kept)) * messages.batch
        return (spoilt.take(kept) if swallowed else spoilt), swallowed


def _break(
    plan: SensorFaultPlan, sensors: Sensors, sensor: int, start_ms: int, rng: np.random.Generator
) -> BrokenSensor:
    kind = Sensors.kind_names[sensors.kind[sensor]]
    possible = [f for f in plan.faults if _can(kind, f)] or ["silent"]
    fault = possible[int(rng.integers(len(possible)))]
    start = start_ms + int((plan.after_h + rng.random() * plan.within_h) * _HOUR_MS)
    end = None if np.isinf(plan.last_h) else start + int(plan.last_h * _HOUR_MS)
    direction = float(rng.choice([-1.0, 1.0]))
    offset = round(float(rng.uniform(*_SLOW_CLOCK_S)), 1)
    size = {"slow_clock": offset, "drifting": direction, "biased": direction}.get(fault, 0.0)
    return BrokenSensor(sensor, fault, start, end, size)


def _can(kind: str, fault: str) -> bool:
    if fault == "impossible":
        return kind in {"traffic", "weather"} or bool(KINDS[kind].contradictions)
    return fault not in {"drifting", "biased"} or _drift_per_hour(KINDS[kind]) is not None


def _drift_per_hour(kind: Kind) -> tuple[str, float] | None:
    """Return the measure that drifts and how fast: the first one that has a usual course.

    By a tenth of what is usual in an hour. None: the kind has none.
    """
    if kind.name in _DRIFT_PER_HOUR:
        return _DRIFT_PER_HOUR[kind.name]
    for measure in kind.measures:
        if measure.usual is not None and measure.expected is not None:
            low, high = measure.usual
            return measure.name, _DRIFT_SHARE * (high - low)
    return None


def _spoil(
    kind: Kind, broken: BrokenSensor, values: Floats, held: Floats, ts: NDArray[np.int64]
) -> Floats:
    """Return float64[measures, b] as the broken sensor sends them; ``held`` are its last good."""
    if broken.fault == "stuck":
        spoilt = np.repeat(held[:, None], values.shape[1], axis=1)
    elif broken.fault == "flat":
        still = np.where(np.isnan(held), 0.0, held)[:, None]
        spoilt = still + _FLAT_SHARE * (values - still)
    elif broken.fault == "impossible":
        spoilt = _contradict(kind, values.copy(), ts)
    else:
        drift = _drift_per_hour(kind)
        assert drift is not None  # noqa: S101 _can has seen to it
        name, per_hour = drift
        hours = (ts - broken.start_ms) / _HOUR_MS if broken.fault == "drifting" else _BIAS_HOURS
        spoilt = values.copy()
        spoilt[kind.measure_names.index(name)] += broken.size * per_hour * hours
    return np.stack([_as_sent(*row) for row in zip(kind.measures, spoilt, values, strict=True)])


def _as_sent(measure: Measure, spoilt: Floats, good: Floats) -> Floats:
    """Return the values as a device would send them: in range, with its resolution."""
    if measure.name in {"period", "lane", "activeEnergyImport"}:
        return good  # set by the controller, not measured
    whole = measure.integer or measure.name == "intensity"
    return np.clip(np.round(spoilt, 0 if whole else 4), measure.minimum, measure.maximum)


def _contradict(kind: Kind, values: Floats, ts: NDArray[np.int64]) -> Floats:
    of = kind.measure_names.index
    if kind.name == "traffic":
        # A cross-talking loop: occupied all the time by traffic that flows freely.
        values[of("occupancy")] = 0.97
        values[of("averageVehicleSpeed")] = np.fmax(values[of("averageVehicleSpeed")], 80.0)
        values[of("intensity")] = np.maximum(values[of("intensity")], 5.0)
    elif kind.name == "air":
        values[of("pm25")] = values[of("pm10")] * 2 + 10
    elif kind.name == "noise":
        values[of("LAmax")] = values[of("LAeq")] - 6
    elif kind.name == "weather":
        # Condensation on the sensor: it jumps to saturation and back.
        jump = 0.4 * (ts // 60_000 % 2) - 0.2
        values[of("relativeHumidity")] = 0.6 + jump
    elif kind.name == "parking":
        values[of("availableSpotNumber")] = values[of("totalSpotNumber")] + 20
    else:
        one = kind.contradictions[0]
        limit = one.factor * values[of(one.whole)] + one.slack
        values[of(one.part)] = limit + 1 + 0.2 * np.abs(limit)
    return values
