"""Whether a rate is held: what is published and not yet stored must not grow. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Hold", "Sample", "growth_s", "lag_s"]

# Batches and the reports' one-second rhythm move the lowest lag of some seconds by about a tenth
# of a second.
ALLOWED_GROWTH_S = 0.25
# A simulator that publishes less than this share of what it was asked for is itself the limit.
LEAST_PUBLISHED = 0.98


@dataclass(frozen=True)
class Sample:
    """``readings`` through a stage, cumulative, at ``at`` [epoch ms]."""

    at: int
    readings: int


def lag_s(samples: Sequence[Sample], *, rate: float, started_at: int, before: int) -> list[float]:
    """Return per sample how many seconds of publication have not come through yet.

    ``before``: readings that had come through before the publication at ``rate`` [1/s] started
    at ``started_at`` [epoch ms].
    """
    return [(s.at - started_at) / 1000 - (s.readings - before) / rate for s in samples]


def growth_s(lags: Sequence[float]) -> float:
    """Return the lowest lag of the last third less that of the middle third [s].

    The lowest, because a stage that does other work now and then falls behind and catches up; a
    backlog that grows does not come down again. The first third is the start: pipelines fill.
    Infinite when there are fewer than 3 samples.
    """
    if len(lags) < 3:
        return float("inf")
    third = len(lags) // 3
    return float(np.min(lags[-third:]) - np.min(lags[-2 * third : -third]))


@dataclass(frozen=True)
class Hold:
    """One try at a rate; ``lags_s`` per stage as ``lag_s`` returns them."""

    rate: float
    published_per_s: float
    lags_s: dict[str, list[float]]

    @property
    def held(self) -> bool:
        growing = any(growth_s(lags) > ALLOWED_GROWTH_S for lags in self.lags_s.values())
        return self.published_per_s >= LEAST_PUBLISHED * self.rate and not growing

    def row(self) -> dict[str, object]:
        """Return it as people read it; growth of the worst stage."""
        return {
            "rate": round(self.rate),
            "published_per_s": round(self.published_per_s),
            "lag_s": round(max(max(lags[-3:], default=np.inf) for lags in self.lags_s.values()), 2),
            "lag_growth_s": round(max(growth_s(lags) for lags in self.lags_s.values()), 2),
            "held": "yes" if self.held else "no",
        }
