"""The series whose anomalies are scored: one per sensor and measure that is worth it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.health.expectations import Expected
from streams.health.unusual import Detector, Scores

__all__ = ["AnomalySeries"]

Rows = NDArray[np.intp]

_PREFIX = "series."


class AnomalySeries:
    """Series ``row * k + j`` is that of the row's j-th scored measure."""

    def __init__(
        self,
        measures: tuple[Expected, ...],
        detector: Detector | None,
        offset_ms: Callable[[int], int] | None = None,
    ) -> None:
        """``offset_ms`` gives local time minus UTC at a time [ms]; None: days are those of UTC."""
        self._offset_ms = offset_ms
        scored = [m for m, expected in enumerate(measures) if expected.anomalies]
        self._place = {m: j for j, m in enumerate(scored)}
        self._detector = detector if scored else None
        self._sensors = 0
        self._remembered: dict[str, list[tuple[Rows, NDArray[Any]]]] = {}

    def grow_to(self, sensors: int) -> None:
        """Add young series for sensors that are new; ``sensors`` is how many there are."""
        if self._detector is not None and sensors > self._sensors:
            self._detector.grow(sensors * len(self._place))
        self._sensors = sensors

    def score(self, m: int, rows: Rows, at_ms: int, values: NDArray[np.float64]) -> Scores | None:
        """Return the scores of a value of measure ``m`` for each of ``rows``, None if unscored."""
        if self._detector is None or m not in self._place or not len(rows):
            return None
        self._recall()
        series = rows * len(self._place) + self._place[m]
        assert self._detector is not None  # noqa: S101 recalling replaces it by another one
        local_ms = at_ms + (self._offset_ms(at_ms) if self._offset_ms else 0)
        return self._detector.update(series, np.full(len(rows), local_ms, np.int64), values)

    def arrays(self, sensors: int) -> dict[str, NDArray[Any]]:
        """Return the detector's state with the sensors as leading axis."""
        if self._detector is None:
            return {}
        self._recall()
        k = len(self._place)
        return {
            _PREFIX + name: values.reshape(sensors, k, *values.shape[1:])
            for name, values in self._detector.arrays().items()
        }

    def remember(self, name: str, rows: Rows, values: NDArray[Any]) -> None:
        """Keep a restored column until the next use: one copy for all areas, not one for each."""
        if name.startswith(_PREFIX):
            self._remembered.setdefault(name.removeprefix(_PREFIX), []).append((rows, values))

    def _recall(self) -> None:
        if self._detector is None or not self._remembered:
            return
        k = len(self._place)
        arrays = {name: values.copy() for name, values in self._detector.arrays().items()}
        for name, parts in self._remembered.items():
            target = arrays.get(name)
            for rows, values in parts:
                if target is not None and values.shape[1:] == (k, *target.shape[1:]):
                    series = (rows[:, None] * k + np.arange(k)).ravel()
                    target[series] = values.reshape(len(series), *target.shape[1:])
        self._detector = type(self._detector).from_arrays(arrays)
        self._remembered = {}
