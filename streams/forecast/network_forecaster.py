"""Forecasts of a road network, refreshed with every window: the live use of ``series``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError
from civicstream.events import ForecastRow, TrafficForecast
from streams.forecast.series import SeriesForecast, SeriesForecaster
from streams.forecast.settings import ForecastSettings
from streams.forecast.state import (
    Arrays,
    Members,
    get_array,
    learned_arrays,
    pack,
    put_learned,
    put_recent,
    put_shared,
    recent_arrays,
    shared_arrays,
    unpack,
)
from streams.forecast.steps import StepMeans
from streams.windows.network import NetworkWindow, RoadNetwork

__all__ = ["HORIZONS_MIN", "NetworkForecaster"]

HORIZONS_MIN = (15, 30, 45, 60)

# Five minutes is the step at which detectors' means are steady enough to tell a trend; longer
# windows are taken as they are, as far as a quarter of an hour still holds whole steps.
_STEP_S, _LONGEST_STEP_S = 300, 900

_DECIMALS = 3

SHARED = "shared"
"""The chunk of what all segments have learned together."""

# With a fortnight of days a segment takes some 6 KB, and a Kafka record should stay below 1 MB.
_CHUNK_SEGMENTS = 64


class NetworkForecaster:
    """State of all segments; a deterministic function of the windows it was given.

    Windows are gathered into steps by event time. Between the ends of two steps the forecast
    starts from the mean over the last full step length.
    """

    def __init__(self, network: RoadNetwork, window_s: float) -> None:
        """``window_s`` is the length of a window; at most a quarter of an hour."""
        if not 0 < window_s <= _LONGEST_STEP_S:
            raise ConfigurationError(
                f"forecasts need windows of at most {_LONGEST_STEP_S} s, not {window_s:g} s; "
                "shorten the windows"
            )
        step_s = _STEP_S if window_s <= _STEP_S else _LONGEST_STEP_S
        leads = tuple(minutes * 60 // step_s for minutes in HORIZONS_MIN)
        settings = ForecastSettings(step_s=step_s, leads=leads)
        self.network = network
        self.step_ms = step_s * 1000
        self.measures = {
            name: SeriesForecaster(len(network), settings, network.pairs)
            for name in ("speed_kmh", "flow_veh_h")
        }
        self.open = StepMeans(len(network))
        self.made_at: int | None = None
        """End of the newest window taken in [ms]."""
        self._segments_of: dict[str, list[int]] = {}
        for index, area in enumerate(network.areas):
            self._segments_of.setdefault(area, []).append(index)
        self._chunks = _chunks(self._segments_of)

    def step(self, window: NetworkWindow, now_ms: int) -> list[TrafficForecast]:
        """Take in the next final window and return a forecast per area.

        The newest window given again changes nothing and returns the same forecast, an older one
        returns none: after a restart the caller may repeat what it is not sure of.
        """
        if self.made_at is not None and window.end < self.made_at:
            return []
        if self.made_at != window.end:
            self._take_in(window)
            self.made_at = window.end
        return self._forecasts(window.end, now_ms)

    @property
    def chunks(self) -> list[str]:
        """Return the names of the pieces of what was learned: what all share, then by area."""
        return [SHARED, *self._chunks]

    def dump_recent(self) -> bytes:
        """Return the recent values: what must be kept with every window (80 bytes a segment)."""
        arrays: Arrays = {
            "ids": np.array(self.network.ids, np.str_),
            "made_at": np.array(-1 if self.made_at is None else self.made_at),
            "open_step": np.array(-1 if self.open.step is None else self.open.step),
            "open_sums": self.open.sums,
        }
        return pack(arrays | _prefixed(self.measures, recent_arrays))

    def restore_recent(self, data: bytes) -> None:
        """Go on where ``dump_recent`` was called; raise DataError if ``data`` is not of it."""
        arrays = unpack(data)
        members = Members.of(get_array(arrays, "ids"), self.network.ids)
        for name, forecaster in self.measures.items():
            put_recent(forecaster, _of(arrays, name), members)
        made_at = int(get_array(arrays, "made_at", ()))
        open_step = int(get_array(arrays, "open_step", ()))
        self.made_at = None if made_at < 0 else made_at
        self.open.step = None if open_step < 0 else open_step
        self.open.sums[:, members.here] = get_array(arrays, "open_sums")[:, members.there]

    def dump_weights(self, chunk: str) -> bytes:
        """Return what was learned of one of ``chunks``; seldom, e.g. each in turn once an hour."""
        if chunk == SHARED:
            return pack(_prefixed(self.measures, shared_arrays))
        chosen, ids = self._chunks[chunk], self.network.ids
        learned = _prefixed(self.measures, lambda f: learned_arrays(f, chosen, ids))
        return pack({"ids": np.array(ids, np.str_)[chosen]} | learned)

    def restore_weights(self, data: bytes) -> None:
        """Put back what ``dump_weights`` gave, of any chunk; raise DataError if it is not ours.

        Before or after ``restore_recent``, all chunks or some: the others stay young.
        """
        arrays = unpack(data)
        if "ids" not in arrays:
            for name, forecaster in self.measures.items():
                put_shared(forecaster, _of(arrays, name))
            return
        members = Members.of(arrays["ids"], self.network.ids)
        for name, forecaster in self.measures.items():
            put_learned(forecaster, _of(arrays, name), members, self.network.ids)

    def _take_in(self, window: NetworkWindow) -> None:
        step = window.start // self.step_ms
        if self.open.step != step:
            self._close()
            self._catch_up(step - 1)
        self.open.add(step, window.speed_kmh, window.flow_veh_h)
        if window.end >= (step + 1) * self.step_ms:
            self._close()

    def _close(self) -> None:
        step = self.open.step
        if step is None:
            return
        for forecaster, values in zip(self.measures.values(), self.open.means(), strict=True):
            forecaster.observe(step, values)
        self.open.clear()

    def _catch_up(self, step: int) -> None:
        """Let steps up to ``step`` that no window came for count as missing."""
        for forecaster in self.measures.values():
            if forecaster.step is not None and forecaster.step < step:
                forecaster.observe(step, np.full(len(self.network), np.nan))

    def _forecasts(self, made_at: int, now_ms: int) -> list[TrafficForecast]:
        speed, flow = (
            self._measure(forecaster, part, made_at)
            for forecaster, part in zip(self.measures.values(), self.open.means(), strict=True)
        )
        columns = [_lists(m) for f in (speed, flow) for m in (f.mean, f.low, f.high)]
        rows = [
            ForecastRow(segment, *values)
            for segment, values in zip(self.network.ids, zip(*columns, strict=True), strict=True)
        ]
        return [
            TrafficForecast(area, made_at, list(HORIZONS_MIN), now_ms, [rows[i] for i in segments])
            for area, segments in self._segments_of.items()
        ]

    def _measure(
        self, forecaster: SeriesForecaster, part: NDArray[np.float64], made_at: int
    ) -> SeriesForecast:
        step = self.open.step
        if step is None:
            return forecaster.forecast()
        return forecaster.forecast(part, made_at / self.step_ms - step)


def _prefixed(
    measures: dict[str, SeriesForecaster], arrays_of: Callable[[SeriesForecaster], Arrays]
) -> Arrays:
    return {
        f"{name}.{part}": array
        for name, forecaster in measures.items()
        for part, array in arrays_of(forecaster).items()
    }


def _of(arrays: Arrays, measure: str) -> Arrays:
    start = f"{measure}."
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def _chunks(segments_of: dict[str, list[int]]) -> dict[str, NDArray[np.intp]]:
    """Return the segments of each chunk; an area with many is split: ``area/0``, ``area/1``."""
    chunks: dict[str, NDArray[np.intp]] = {}
    for area, segments in segments_of.items():
        for part, first in enumerate(range(0, len(segments), _CHUNK_SEGMENTS)):
            chunks[f"{area}/{part}"] = np.array(segments[first : first + _CHUNK_SEGMENTS], np.intp)
    return chunks


def _lists(values: NDArray[np.float64]) -> list[list[float | None]]:
    """Return rows of Python floats, None for NaN."""
    rounded = np.round(values, _DECIMALS).astype(object)
    rounded[np.isnan(values)] = None
    rows: list[list[float | None]] = rounded.tolist()
    return rows
