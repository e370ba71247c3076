"""What a series has done before is less surprising: each alarm makes the next as high less rare.

How often a series alarms at least so high is a Poisson rate with a gamma prior (the usual
conjugate pair): before anything is seen, 10^(-surprise / 3.5) a reading, believed as much as
3,000 readings. With ``k`` earlier alarms at least as high in ``n`` readings the rate is

    (prior * 3000 + k) / (3000 + n)

and the surprise is lowered by its decades over the prior: it falls with every alarm and
recovers with every quiet reading. Old alarms and old readings fade alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.anomaly.state import ALARM_LEVELS, Arrays

__all__ = ["LEVELS", "habituated"]

Floats = NDArray[np.float64]

LEVELS = 3.0 * np.sqrt(2.0) ** np.arange(ALARM_LEVELS)
"""Surprises whose earlier alarms are counted: 3 to 34, in steps of half an octave."""
_DECADE = 3.5
"""Surprise by which an alarm is ten times rarer; the votes are not independent, so not 1."""
_PRIOR_READINGS = 3_000.0
_MEMORY_MS = 28 * 24 * 3_600_000
_KEPT_AT_LEAST = 2 / 3
"""Share of a surprise that habit cannot take: a second wreck at a place is still an alarm."""


def habituated(state: Arrays, rows: NDArray[np.intp], since_ms: Floats, news: Floats) -> Floats:
    """Return ``news`` [k] (surprises now, 0 for none) as the past of each series lowers it.

    ``rows`` [k] are the series, ``since_ms`` [k] the time since the reading before. The state
    then counts what was reported.
    """
    fade = np.exp(-since_ms / _MEMORY_MS)
    alarms = state["alarms"][rows] * fade[:, None]
    watched = state["watched"][rows] * fade
    reported = news > 0
    before = _at_least(alarms, news)
    prior = _PRIOR_READINGS * 10 ** (-news / _DECADE)
    ratio = (prior + before) / prior * _PRIOR_READINGS / (_PRIOR_READINGS + watched)
    lowered = np.maximum(news - _DECADE * np.log10(ratio), _KEPT_AT_LEAST * news)
    state["alarms"][rows] = alarms + (news[:, None] >= LEVELS)
    state["watched"][rows] = watched + 1
    return np.where(reported, lowered, 0.0)


def _at_least(alarms: Floats, news: Floats) -> Floats:
    """Return how many earlier alarms were at least as high, between the levels interpolated."""
    step = np.log(LEVELS[1] / LEVELS[0])
    at = np.log(np.maximum(news, LEVELS[0]) / LEVELS[0]) / step
    at = np.minimum(at, ALARM_LEVELS - 1.001)
    below = at.astype(np.intp)
    part = at - below
    series = np.arange(len(news))
    return np.asarray(alarms[series, below] * (1 - part) + alarms[series, below + 1] * part)
