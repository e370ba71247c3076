"""Faults on demand, each one marked, so that a test knows the truth."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError
from sensors_sim.messages import MALFORMATIONS, Messages, fault_code

__all__ = ["FaultRates", "Faults"]

_MEAN_OUTAGE = 10
"""A sensor that drops out stays out for so many readings on average."""

_SKEW_S = (60.0, 600.0)
"""How far a wrong clock is off, either way: more than the gateway's default tolerance of 30 s,
so that a clock ahead is rejected and cannot push the watermark into the future."""

_OUT_OF_ORDER_S = (0.2, 4.0)
"""Below the default out-of-orderness bound of 5 s: disordered, but not late."""

_DUPLICATE_S = (0.1, 2.0)


@dataclass(frozen=True)
class FaultRates:
    """Shares 0..1 of the messages with each fault; ``clock_skew`` is a share of the sensors."""

    duplicates: float = 0.0
    late: float = 0.0
    out_of_order: float = 0.0
    clock_skew: float = 0.0
    dropouts: float = 0.0
    malformed: float = 0.0
    late_by_s: float = 120.0
    """A late message comes once to twice this much after its time."""

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name != "late_by_s"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(
                    f"--{name.replace('_', '-')} {getattr(self, name):g} is outside 0..1 "
                    "(expected a share, not percent)"
                )
        if self.dropouts > 0.9:
            raise ConfigurationError(f"--dropouts {self.dropouts:g}: can be 0.9 at most")
        one_of = self.duplicates + self.late + self.out_of_order + self.malformed
        if one_of > 1:
            raise ConfigurationError(
                f"--duplicates, --late, --out-of-order and --malformed add up to {one_of:g}; "
                "a message has one fault at most, so they may add up to 1"
            )


class Faults:
    """Spoils messages; keeps which sensors have a wrong clock and which are out just now."""

    def __init__(self, rates: FaultRates, sensors: int, rng: np.random.Generator) -> None:
        self._rates = rates
        offset = rng.uniform(*_SKEW_S, sensors) * rng.choice([-1, 1], sensors)
        wrong = rng.random(sensors) < rates.clock_skew
        self._skew_ms = np.where(wrong, (offset * 1000).astype(np.int64), 0)
        self._out = rng.random(sensors) < rates.dropouts

    def apply(self, messages: Messages, rng: np.random.Generator) -> tuple[Messages, int]:
        """Return the messages with their faults and how many readings an outage swallowed."""
        kept = self._in_service(messages.sensor, rng)
        dropped = int(np.count_nonzero(~kept)) * messages.batch
        m = messages.take(kept) if dropped else messages
        rates = self._rates
        skew = self._skew_ms[m.sensor]
        draw = np.where(skew != 0, 2.0, rng.random(len(m)))  # a wrong clock is fault enough
        edges = np.cumsum([rates.duplicates, rates.late, rates.out_of_order, rates.malformed])
        choice = np.searchsorted(edges, draw, side="right")
        repeated, late, moved, broken = (choice == i for i in range(4))
        fault = np.zeros(len(m), np.int8)
        fault[skew != 0] = fault_code("clock_skew")
        fault[late] = fault_code("late")
        fault[moved] = fault_code("out_of_order")
        fault[broken] = fault_code("malformed")
        due = m.due.copy()
        due[late] += _delay_ms((rates.late_by_s, 2 * rates.late_by_s), late, rng)
        due[moved] += _delay_ms(_OUT_OF_ORDER_S, moved, rng)
        malformation = rng.integers(0, len(MALFORMATIONS), len(m)).astype(np.int8)
        spoilt = Messages(
            kind=m.kind,
            sensor=m.sensor,
            ts=m.ts + skew[:, None],
            measures=m.measures,
            due=due,
            fault=fault,
            malformation=malformation,
        )
        return self._with_copies(spoilt, repeated, rng), dropped

    def _in_service(self, sensor: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return which messages are sent: each sensor is a two-state Markov chain.

        A sensor that is twice in one block has one state for the whole of it.
        """
        p = self._rates.dropouts
        if p == 0:
            return np.ones(len(sensor), np.bool_)
        out = self._out[sensor]
        draw = rng.random(len(sensor))
        fails = p / ((1 - p) * _MEAN_OUTAGE)
        self._out[sensor] = np.where(out, draw >= 1 / _MEAN_OUTAGE, draw < fails)
        return ~self._out[sensor]

    @staticmethod
    def _with_copies(
        messages: Messages, repeated: NDArray[np.bool_], rng: np.random.Generator
    ) -> Messages:
        if not repeated.any():
            return messages
        copies = messages.take(repeated)
        copies.fault[:] = fault_code("duplicate")
        copies.due[:] += _delay_ms(_DUPLICATE_S, repeated, rng)
        return Messages.join([messages, copies])


def _delay_ms(
    bounds_s: tuple[float, float], chosen: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64]:
    low, high = bounds_s
    return rng.integers(int(low * 1000), int(high * 1000) + 1, int(np.count_nonzero(chosen)))
