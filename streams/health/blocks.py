"""Means over blocks of five windows: what drift and anomalies are judged by.

A single minute of a single detector is mostly chance. Each measure has its own phase, so that no
window has to judge them all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.health.expectations import Expected
from streams.health.ordered import OrderedReadings
from streams.health.sensor_table import Column, SensorTable

__all__ = ["BLOCK_WINDOWS", "COLUMNS", "add_to_block", "is_due", "take_block"]

Floats = NDArray[np.float64]

BLOCK_WINDOWS = 5

COLUMNS = (
    Column("block_sum", "f4", per_measure=True),
    Column("block_weight", "f4", per_measure=True),
)


def add_to_block(table: SensorTable, readings: OrderedReadings, m: int, expected: Expected) -> None:
    """Add the window's readings of measure ``m`` to the sensors' open blocks."""
    series = readings.series(expected.name)
    if not len(series.value):
        return
    value = series.value
    weight = np.ones(len(value))
    if expected.per is not None:
        weight = readings.measures[expected.per][series.at]
    elif expected.weight is not None:
        weight = readings.measures[expected.weight][series.at]
        value = value * weight
    table["block_sum"][series.rows, m] += series.total(value).astype(np.float32)
    table["block_weight"][series.rows, m] += series.total(weight).astype(np.float32)


def is_due(window_end: int, window_ms: int, m: int) -> bool:
    """Return whether the window that ends at ``window_end`` is the last of a block of ``m``."""
    return (window_end // window_ms + m) % BLOCK_WINDOWS == 0


def take_block(table: SensorTable, m: int) -> Floats:
    """Return [n] the means of the block, NaN where nothing was measured, and begin a new one."""
    total, weight = table["block_sum"][:, m], table["block_weight"][:, m].astype(np.float64)
    mean: Floats = np.divide(total, weight, out=np.full(len(table), np.nan), where=weight > 0)
    table["block_sum"][:, m] = 0
    table["block_weight"][:, m] = 0
    return mean
