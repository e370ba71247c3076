"""Frames for tests, from plain rows."""

from __future__ import annotations

import numpy as np

from civicstream.frames import Dictionary, Frame
from civicstream.kinds import KINDS, sensor_key

Row = tuple[str, str, int, dict[str, float]]
"""Area, sensor, ts [ms], measures by name."""


def make_frame(kind: str, rows: list[Row]) -> Frame:
    """Return the frame of ``rows``; measures that a row lacks are NaN."""
    areas = sorted({row[0] for row in rows})
    sensors = sorted({row[1] for row in rows})
    return Frame(
        KINDS[kind],
        np.array([sensor_key(kind, area, sensor) for area, sensor, _, _ in rows], np.int64),
        Dictionary(np.array([sensors.index(r[1]) for r in rows], np.int32), sensors),
        Dictionary(np.array([areas.index(r[0]) for r in rows], np.int32), areas),
        np.array([row[2] for row in rows], np.int64),
        {
            name: np.array([row[3].get(name, np.nan) for row in rows], np.float64)
            for name in KINDS[kind].measure_names
        },
    )
