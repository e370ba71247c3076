"""``civicstream replay``: recorded series published as readings."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.clock import rfc3339, wall_ms
from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS, Measure
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from sensors_sim.messages import Block, Messages
from sensors_sim.pacing import Pace
from sensors_sim.recordings import Recording
from sensors_sim.service import Run, connected, publish_blocks

__all__ = ["Series", "replay", "series_blocks", "shift_to"]

log = logging.getLogger(__name__)

_READINGS_PER_BLOCK = 200
"""Rows are joined into blocks of about this many readings, at least one row: what several
connections may disorder."""

Shift = Literal["original", "now"] | int


@dataclass(frozen=True)
class Series:
    """A recording as readings of ``measure`` of ``kind``, its values in the measure's unit.

    ``intensity`` [vehicles in the period]: what a detector is said to have counted when the
    recording has speeds or occupancies only. The same for all, so that all weigh the same.
    """

    recording: Recording
    kind: str
    measure: Measure
    intensity: float = 100.0

    def __post_init__(self) -> None:
        given = {self.measure.name} | set(self._constants())
        lacking = [m for m in KINDS[self.kind].required if m not in given]
        if lacking:
            raise ConfigurationError(
                f"--measure {self.measure.name}: every {self.kind} reading also needs "
                f"{', '.join(lacking)}, which the recording does not have"
            )

    def _constants(self) -> dict[str, float]:
        if self.kind != "traffic":
            return {}
        period = min(max(self.recording.interval_s, 0.1), 3600.0)
        return {"intensity": self.intensity, "period": period}

    def columns(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64[measures, n, 1] for ``values`` [n]."""
        constants = self._constants()
        constant = [constants.get(m.name, np.nan) for m in KINDS[self.kind].measures]
        rows = np.repeat(np.array(constant)[:, None], len(values), axis=1)
        rows[KINDS[self.kind].measure_names.index(self.measure.name)] = values
        return rows[:, :, None]


def shift_to(recording: Recording, shift: Shift, speed: float, present_ms: int) -> Recording:
    """Return the recording at its own times, ending at the present, or beginning at ``shift``.

    ``now``: the last row's time is the moment it will be published at this speed; at real time
    the first row is of now, as fast as it goes the last one is.
    """
    if shift == "original":
        return recording
    first, last = int(recording.ts[0]), int(recording.ts[-1])
    if shift == "now":
        return recording.shifted(present_ms + int((last - first) / speed) - last)
    return recording.shifted(shift - first)


def series_blocks(series: Series) -> Iterator[Block]:
    """Yield the readings in order of time, several rows of the recording to a block."""
    recording = series.recording
    rows = max(1, _READINGS_PER_BLOCK // len(recording.sensors))
    for first in range(0, len(recording.ts), rows):
        ts, values = recording.ts[first : first + rows], recording.values[first : first + rows]
        row, sensor = np.nonzero(~np.isnan(values))
        messages = Messages.good(
            KINDS[series.kind], sensor, ts[row][:, None], series.columns(values[row, sensor])
        )
        yield Block((messages,), int(ts[-1]) + 1)


def replay(
    settings: Settings,
    city: City,
    series: Series,
    run: Run,
    speed: float = math.inf,
    shift: Shift = "original",
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Publish the series and return the counts; ``city`` has its sensors in the same order.

    ``speed``: times real time, infinite for as fast as it goes.
    """
    stop = stop or stop_on_signals()
    with connected(settings, run, stop) as publisher:
        started = wall_ms()
        recording = shift_to(series.recording, shift, speed, started)
        moved = replace(series, recording=recording)
        _warn_of_outliers(moved)
        log.info(
            "%d rows of %d sensors, event time %s to %s, at %g x",
            *(recording.values.shape),
            rfc3339(int(recording.ts[0])),
            rfc3339(int(recording.ts[-1])),
            speed,
        )
        return publish_blocks(
            settings,
            city,
            run,
            publisher,
            series_blocks(moved),
            Pace(started, int(recording.ts[0]), speed),
            stop,
            incidents=list,
            about=dict,
            batch=1,
        )


def _warn_of_outliers(series: Series) -> None:
    values, measure = series.recording.values, series.measure
    outside = int(np.count_nonzero((values < measure.minimum) | (values > measure.maximum)))
    if outside:
        log.warning(
            "%d of %d values are outside %s %s and will be rejected; is the unit right?",
            outside,
            values.size,
            measure.range_text,
            measure.unit,
        )
