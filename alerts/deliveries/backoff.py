"""How long to wait before trying again, and when to give up."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Patience", "pause_s"]

_FIRST_S = 0.5
_LONGEST_S = 60.0
_AT_LEAST_S = 30.0
"""An alert that was already old when it was first tried, because we were away, gets a fair try."""


def pause_s(attempt: int, rng: random.Random) -> float:
    """Return the pause after failed attempt number ``attempt`` (from 0) [s].

    Exponential, with "equal jitter": half of it is drawn, so that many who lost the same
    receiver do not come back at the same moment (Brooker, AWS Architecture Blog, 2015).
    """
    whole = min(_LONGEST_S, _FIRST_S * 2.0 ** min(attempt, 30))
    return whole / 2 + rng.uniform(0, whole / 2)


@dataclass(frozen=True)
class Patience:
    """When to give up one item: ``limit_s`` after it was published, but not at once."""

    published_ms: int
    first_tried_ms: int
    limit_s: float

    @property
    def ends_ms(self) -> float:
        fair = self.first_tried_ms + 1000 * min(_AT_LEAST_S, self.limit_s)
        return max(self.published_ms + 1000 * self.limit_s, fair)

    def over(self, now_ms: int) -> bool:
        return now_ms >= self.ends_ms
