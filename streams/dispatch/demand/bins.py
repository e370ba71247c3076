"""When each waste container will be full, followed online from its fill level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.service_events import BinForecast
from streams.dispatch.demand import filling
from streams.dispatch.demand.crossing import Crossing, Filling, first_passage
from streams.dispatch.demand.fill_clock import FillClock
from streams.dispatch.demand.sensor_rows import Newest, SensorRows
from streams.dispatch.demand.weekly_shape import HOUR_MS
from streams.health.sensor_table import Column
from streams.runtime.state_items import dump, foreign_item, load, unknown_item
from streams.windows.windows import Columns

__all__ = ["BinForecaster"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_COLUMNS = (
    *filling.COLUMNS,
    Column("made_at", "<i8"),
    *(Column(f"made_{name}", "<f8") for name in ("level", "rate", "p_level", "p_both", "p_rate")),
    Column("scale2", "<f8", 1.0),
    Column("checks", "<i4"),
    Column("published_at", "<i8"),
    Column("published_full", "<f8", np.nan),
)
_CHECK_MS = 12 * HOUR_MS
"""A forecast so far ahead is held against what came, to scale the intervals."""
_HORIZON_H = 14 * 24.0
_PUBLISH_LATEST_MS = 6 * HOUR_MS
_PUBLISH_MOVED_MS, _PUBLISH_MOVED_SHARE = 30 * 60_000, 0.1
"""A forecast that moved by less than half an hour, or a tenth of the time left, is no news."""
_CLOCK = "bins/clock"
_AREA = "bins/area/"


class BinForecaster:
    """All containers of a partition; bounded by their number, 200 bytes each."""

    def __init__(self, city: City, full_level: float = 0.9) -> None:
        """``full_level`` 0..1 is the fill level at which a container is to be emptied."""
        if not 0 < full_level <= 1:
            raise ValueError(f"full_level {full_level}: expected a share above 0 and up to 1")
        self._rows = SensorRows(city, _COLUMNS)
        self._clock = FillClock()
        self._full_level = full_level

    def __len__(self) -> int:
        return len(self._rows)

    def observe(
        self, readings: Columns, area_names: Sequence[str], offset_ms: int = 0
    ) -> list[BinForecast]:
        """Take in readings of the kind ``waste``; return the forecasts that are news.

        ``readings.area`` are codes into ``area_names``; ``offset_ms`` is local time minus UTC.
        Of several readings of a sensor the newest counts; older ones than known are left out.
        """
        newest = self._rows.newest(readings, area_names, "fillingLevel")
        if not len(newest.rows):
            return []
        state, rows = self._rows.state, newest.rows
        before, local = state["level_at"][rows] + offset_ms, newest.ts + offset_ms
        hours = self._clock.show(local.astype(np.float64)) - self._clock.show(
            before.astype(np.float64)
        )
        level = newest.measures["fillingLevel"]
        known = state["readings"][rows] > 0
        step = filling.take_levels(state, rows, newest.ts, hours, level)
        rate = np.maximum(state["rate"][rows], 0.0)
        self._clock.learn(before[known], local[known], step.gain[known], rate[known])
        self._check(newest, step.jumped, local, level, offset_ms)
        return self._news(rows, step.jumped, offset_ms)

    def _check(
        self,
        newest: Newest,
        jumped: NDArray[np.bool_],
        local: NDArray[np.int64],
        level: Floats,
        offset_ms: int,
    ) -> None:
        """Hold due forecasts against the levels, and make new ones."""
        state = self._rows.state
        made_at = state["made_at"][newest.rows]
        settled = np.isnan(state["odd_level"][newest.rows])
        due = settled & (newest.ts - made_at >= _CHECK_MS)
        judged = due & (made_at > 0) & ~jumped
        if judged.any():
            rows = newest.rows[judged]
            start = (made_at[judged] + offset_ms).astype(np.float64)
            hours = self._clock.show(local[judged].astype(np.float64)) - self._clock.show(start)
            made = Filling.of(state, rows, "made_", np.ones(len(rows)))
            variance = made.deviation(hours) ** 2 + state["noise"][rows]
            error = np.minimum((level[judged] - made.mean(hours)) ** 2 / variance, 25.0)
            pace = np.maximum(0.07, 1 / (state["checks"][rows] + 8))
            scale2 = state["scale2"][rows]
            state["scale2"][rows] = np.clip(scale2 + pace * (error - scale2), 0.0025, 25.0)
            state["checks"][rows] += 1
        renewed = newest.rows[due | jumped]
        state["made_at"][renewed] = state["ts"][renewed]
        for name in ("level", "rate", "p_level", "p_both", "p_rate"):
            state[f"made_{name}"][renewed] = state[name][renewed]

    def _news(self, rows: Rows, jumped: NDArray[np.bool_], offset_ms: int) -> list[BinForecast]:
        state = self._rows.state
        crossing = self._crossing(rows)
        full_at, low, high = (
            self._after(rows, hours, offset_ms)
            for hours in (crossing.expected, crossing.low, crossing.high)
        )
        published_at, published_full = state["published_at"][rows], state["published_full"][rows]
        at = state["ts"][rows]
        moved = np.abs(full_at - published_full)
        allowed = np.maximum(_PUBLISH_MOVED_MS, _PUBLISH_MOVED_SHARE * np.abs(published_full - at))
        full, was_full = crossing.expected == 0, published_full <= published_at
        news = (
            jumped,
            published_at == 0,
            at - published_at >= _PUBLISH_LATEST_MS,
            np.isnan(full_at) != np.isnan(published_full),
            full != was_full,
            ~full & (moved > allowed),
        )
        chosen = np.flatnonzero(np.logical_or.reduce(news))
        state["published_at"][rows[chosen]] = at[chosen]
        state["published_full"][rows[chosen]] = full_at[chosen]
        return [
            self._event(int(rows[i]), float(full_at[i]), float(low[i]), float(high[i]))
            for i in chosen.tolist()
        ]

    def _crossing(self, rows: Rows) -> Crossing:
        state = self._rows.state
        now = Filling.of(state, rows, "", np.sqrt(state["scale2"][rows]))
        return first_passage(now, self._full_level, _HORIZON_H)

    def _after(self, rows: Rows, hours: Floats, offset_ms: int) -> Floats:
        """Return the time [ms] so many hours of the fill clock after the level was so."""
        local = (self._rows.state["level_at"][rows] + offset_ms).astype(np.float64)
        after = self._clock.when(self._clock.show(local) + hours) - offset_ms
        return np.where(hours == 0, self._rows.state["level_at"][rows], after)

    def _event(self, row: int, full_at: float, low: float, high: float) -> BinForecast:
        state, place = self._rows.state, self._rows.place(row)
        none = np.isnan(full_at)
        return BinForecast(
            sensor_key=int(state.keys[row]),
            area=place.area,
            sensor=place.name,
            lon=place.lon,
            lat=place.lat,
            at=int(state["ts"][row]),
            level=round(float(np.clip(state["level"][row], 0.0, 1.0)), 4),
            fill_per_h=round(float(state["rate"][row]), 6),
            emptied_at=int(state["emptied_at"][row]) or None,
            predicted_full_at=None if none else round(full_at),
            full_low=None if none else round(low),
            full_high=None if none else round(high),
        )

    def changed(self) -> dict[str, bytes | None]:
        """Return the state that changed since the last call: one item per area, and the clock."""
        areas = self._rows.changed()
        items: dict[str, bytes | None] = {_AREA + area: data for area, data in areas.items()}
        if items:
            items[_CLOCK] = dump(self._clock.dump())
        return items

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave, into a new forecaster; DataError."""
        for key, data in items.items():
            try:
                if key == _CLOCK:
                    self._clock.restore(load("bin", key, data, dict[str, list[float]]))
                elif key.startswith(_AREA):
                    self._rows.restore(key.removeprefix(_AREA), data)
                else:
                    raise unknown_item("bin", key)
            except ValueError as error:
                raise foreign_item("bin", key, str(error)) from error
