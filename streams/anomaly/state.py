"""What the detector remembers of each series: the names, types and shapes of its arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ALARM_LEVELS",
    "COMPONENTS",
    "DAY_KINDS",
    "FIELDS",
    "HOURS",
    "Arrays",
    "Field",
    "checked",
    "empty",
    "grown",
]

Arrays = dict[str, NDArray[Any]]

COMPONENTS = 7
"""Ways in which a reading can be surprising; see ``surprise``."""
ALARM_LEVELS = 8
"""Heights at which earlier alarms are counted; see ``habituation``."""
DAY_KINDS = 2
"""Monday to Friday, and the weekend."""
HOURS = 24


@dataclass(frozen=True)
class Field:
    """One array of the state: [series, *shape]. ``slow`` ones may be stored seldom."""

    dtype: type[np.generic]
    shape: tuple[int, ...] = ()
    slow: bool = False


FIELDS = {
    "readings": Field(np.int32),
    "first_ms": Field(np.int64),
    "last_ms": Field(np.int64),
    "interval_ms": Field(np.float32),
    "mean": Field(np.float32),
    "spread": Field(np.float32),
    "offset": Field(np.float32),
    "noise": Field(np.float32),
    "sustained": Field(np.float32),
    "recent": Field(np.float32),
    "unrest": Field(np.float32),
    "rising": Field(np.float32),
    "falling": Field(np.float32),
    "lasting": Field(np.float32),
    "reach": Field(np.float32),
    "told": Field(np.float32),
    "watched": Field(np.float32),
    "alarms": Field(np.float32, (ALARM_LEVELS,)),
    "tail_start": Field(np.float32, (COMPONENTS,)),
    "tail_mean": Field(np.float32, (COMPONENTS,)),
    "tail_count": Field(np.float32, (COMPONENTS,)),
    "usual": Field(np.float32, (DAY_KINDS, HOURS), slow=True),
    "usual_noise": Field(np.float32, (DAY_KINDS, HOURS), slow=True),
    "usual_weight": Field(np.float32, (DAY_KINDS, HOURS), slow=True),
}


def empty(series: int) -> Arrays:
    """Return the state of ``series`` series that have not been read yet."""
    return {name: np.zeros((series, *f.shape), f.dtype) for name, f in FIELDS.items()}


def grown(arrays: Arrays, series: int) -> Arrays:
    """Return the state with room for ``series`` series, the new ones at the end and empty."""
    have = len(arrays["readings"])
    if series < have:
        raise ValueError(f"cannot shrink from {have} to {series} series; make a new detector")
    fresh = empty(series - have)
    return {name: np.concatenate([values, fresh[name]]) for name, values in arrays.items()}


def checked(arrays: Arrays) -> Arrays:
    """Return a copy of stored arrays; ValueError when one is missing or has another shape."""
    missing = FIELDS.keys() - arrays.keys()
    if missing:
        raise ValueError(f"anomaly state lacks {', '.join(sorted(missing))}; start it afresh")
    series = len(arrays["readings"])
    for name, field in FIELDS.items():
        if arrays[name].shape != (series, *field.shape):
            raise ValueError(
                f"anomaly state {name!r} has shape {arrays[name].shape}, expected "
                f"{(series, *field.shape)}; it is of another version, start it afresh"
            )
    return {name: np.array(arrays[name], field.dtype) for name, field in FIELDS.items()}
