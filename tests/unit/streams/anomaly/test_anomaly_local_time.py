"""Anomalies are scored by the clock that people live by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from civicstream.local_time import local_offset
from streams.anomaly import AnomalyDetector
from streams.anomaly.detector import Scores
from streams.health.expectations import expected_measures
from streams.health.series import AnomalySeries

SUMMER = 1_783_000_000_000  # July 2026
HOUR = 3_600_000


class Watch(AnomalyDetector):
    """Notes the times that it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[int] = []

    def update(
        self, rows: NDArray[np.intp], at_ms: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Scores:
        self.times += at_ms.tolist()
        return super().update(rows, at_ms, values)


def times_of(zone: str | None) -> list[int]:
    watch = Watch()
    offset = None if zone is None else local_offset(zone)
    measures = expected_measures("energy")
    series = AnomalySeries(measures, watch, offset)
    series.grow_to(2)
    scored = next(m for m, expected in enumerate(measures) if expected.anomalies)
    series.score(scored, np.arange(2), SUMMER, np.array([1.0, 2.0]))
    return watch.times


def test_hours_are_those_of_the_citys_time_zone() -> None:
    assert times_of("Europe/Berlin") == [SUMMER + 2 * HOUR] * 2
    assert times_of("UTC") == times_of(None) == [SUMMER] * 2
