"""An unusual state is news once: what is reported of a surprise while an earlier one lasts.

A surprise is reported when it is well above the last one reported, which fades with the hours.
Without this an incident of two hours would be a hundred alarms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["news_of"]

Floats = NDArray[np.float64]

_HALF_LIFE_MS = 12 * 3_600_000
_CLEARLY_MORE = 1.5


def news_of(surprise: Floats, reported: Floats, since_ms: Floats) -> tuple[Floats, Floats]:
    """Return what is news of ``surprise`` (0 when it is none) and the new last one reported.

    ``reported`` is the last one reported, ``since_ms`` the time since the reading before. A state
    that stays as surprising as it was does not fade, so it is not reported again.
    """
    fading = reported * np.exp2(-since_ms / _HALF_LIFE_MS)
    news = surprise > _CLEARLY_MORE * fading
    lasting = np.maximum(fading, np.minimum(surprise, reported))
    return np.where(news, surprise, 0.0), np.where(news, surprise, lasting)
