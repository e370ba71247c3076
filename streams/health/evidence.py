"""How much evidence convicts, and when a sensor is known well enough to be judged by its past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.health.sensor_table import Column, SensorTable

__all__ = ["COLUMNS", "EVIDENCE", "GROWN_UP_S", "MANY", "is_grown_up"]

EVIDENCE = 40.0
"""Log-likelihood ratio that convicts: a healthy sensor reaches it by chance once in e^40 readings,
so what false alarms there are come from the model being wrong, and those the other rules stop."""

MANY = 5
"""From so many sensors on, the others' behaviour in the same window can be trusted."""

GROWN_UP_S = 86_400.0
"""A day: before, a sensor's own quiet hours are not known."""

COLUMNS = (Column("known_since", "u4", slow=True),)
"""[s] when the sensor first reported."""


def is_grown_up(table: SensorTable, now_s: float) -> NDArray[np.bool_]:
    """Return [n] which sensors have been known for a day."""
    return np.asarray(now_s - table["known_since"].astype(np.float64) >= GROWN_UP_S)
