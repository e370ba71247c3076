"""Broken detectors for the incident bench: what they send instead of what they should."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.kinds import KINDS

__all__ = ["FAULTS", "BrokenDetectors"]

Floats = NDArray[np.float64]

FAULTS = ("sound", "stuck", "dropping", "biased", "noisy", "flapping")
_SHARES = (0.90, 0.02, 0.02, 0.02, 0.02, 0.02)
_HOUR_MS = 3_600_000
_COUNT, _SPEED, _OCCUPANCY = (
    KINDS["traffic"].measure_names.index(name)
    for name in ("intensity", "averageVehicleSpeed", "occupancy")
)


@dataclass(frozen=True)
class _Traits:
    """Columns over all detectors: what is wrong with each and when."""

    fault: NDArray[np.intp]
    phase: Floats
    speed_bias: Floats
    count_bias: Floats


class BrokenDetectors:
    """A tenth of the detectors is broken, two in a hundred in each way.

    - stuck: repeats one reading for an hour, three times a day;
    - dropping: sends nothing for 3 to 20 minutes, several times a day, and loses one in ten;
    - biased: counts 30 % too few or too many and is 15 % wrong in speed, always;
    - noisy: each reading's count and speed are off by 35 and 25 % (standard deviation);
    - flapping: for an hour, three times a day, switches every few minutes to 12 km/h and half
      the count and back.
    """

    def __init__(self, sensors: int, rng: np.random.Generator) -> None:
        sign = rng.choice([-1.0, 1.0], (2, sensors))
        self._traits = _Traits(
            rng.choice(len(FAULTS), sensors, p=_SHARES),
            rng.random(sensors),
            1 + 0.15 * sign[0],
            1 + 0.30 * sign[1],
        )
        self._held = np.full((len(KINDS["traffic"].measures), sensors), np.nan)

    def counts(self, sensors: NDArray[np.intp]) -> dict[str, int]:
        """Return how many of ``sensors`` have each fault."""
        found = np.bincount(self._traits.fault[sensors], minlength=len(FAULTS)).tolist()
        return dict(zip(FAULTS, found, strict=True))

    def spoil(
        self, sensor: NDArray[np.intp], ts_ms: int, values: Floats, rng: np.random.Generator
    ) -> tuple[NDArray[np.bool_], Floats]:
        """Return which readings are sent, and float64[measures, n] as they are sent."""
        traits = self._traits
        fault, phase = traits.fault[sensor], traits.phase[sensor]
        values = values.copy()
        n = len(sensor)
        hours = ts_ms / _HOUR_MS
        spell = ((hours / 8 + phase) % 1) < 1 / 8

        biased = fault == FAULTS.index("biased")
        values[_COUNT, biased] = np.round((values[_COUNT] * traits.count_bias[sensor])[biased])
        values[_SPEED, biased] *= traits.speed_bias[sensor][biased]
        noisy = fault == FAULTS.index("noisy")
        values[_COUNT, noisy] = np.round(
            (values[_COUNT] * np.clip(1 + 0.35 * rng.standard_normal(n), 0, 3))[noisy]
        )
        values[_SPEED, noisy] *= np.clip(1 + 0.25 * rng.standard_normal(n), 0.2, 2)[noisy]
        flapping = (fault == FAULTS.index("flapping")) & spell
        flapping &= np.sin((hours * 12 + phase * 7) * 2 * np.pi) > 0
        values[_COUNT, flapping] = np.round(values[_COUNT, flapping] / 2)
        slower = np.nan_to_num(values[_SPEED, flapping], nan=12.0) / 12.0
        occupancy = values[_OCCUPANCY, flapping] / 2 * slower
        values[_OCCUPANCY, flapping] = np.clip(occupancy, 0, 1)
        values[_SPEED, flapping] = 12.0
        stuck = (fault == FAULTS.index("stuck")) & spell
        known = ~np.isnan(self._held[_COUNT, sensor])
        values[:, stuck & known] = self._held[:, sensor[stuck & known]]
        self._held[:, sensor[stuck]] = values[:, stuck]
        self._held[:, sensor[~stuck]] = np.nan

        dropping = fault == FAULTS.index("dropping")
        out = ((hours * 2.3 + phase) % 1 < 0.05 + 0.7 * ((phase * 13) % 1) * 0.5) & (
            (hours / 3 + phase) % 1 < 0.3
        )
        silent = dropping & (out | (rng.random(n) < 0.1))
        return ~silent, values
