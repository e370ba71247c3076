"""Free spaces of car parks half an hour ahead, by the forecaster of the road network.

The share of spaces taken is a series like any other: it has its usual course of the day, follows
similar past days, and moves with its neighbours. See docs/traffic.md for the method.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City, Sensors
from civicstream.service_events import ParkingForecast
from streams.forecast import state as forecast_state
from streams.forecast.series import SeriesForecaster
from streams.forecast.settings import ForecastSettings
from streams.windows.windows import Columns

__all__ = ["ParkingForecaster"]

Floats = NDArray[np.float64]

_STEP_MS = 300_000
_LEAD_STEPS = 6
_PUBLISH_LATEST_STEPS = 3
_PUBLISH_MOVED_SHARE, _PUBLISH_MOVED_SPACES = 0.02, 1.0
"""A forecast that moved by less than two in a hundred spaces, or one, is no news."""
_LEARNED_EVERY = 12
"""Steps between two writings of what was learned: it changes slowly."""
_PART = 200
"""Car parks whose learned state is written at once: about 100 kB."""
_NOW = ("at", "total", "free", "in_step")
_UNKNOWN = -1


class ParkingForecaster:
    """The car parks of some areas that the city model knows; others are not forecast.

    Time advances by readings: a step of five minutes is taken in when the first reading of a
    later one comes, and what comes too late for its step is left out.
    """

    def __init__(self, city: City, areas: Collection[str] | None = None) -> None:
        """``areas`` None: of the whole city."""
        self._city = city
        area_ids = [area.id for area in city.areas]
        chosen = [
            i
            for i in np.flatnonzero(city.sensors.kind == Sensors.kind_names.index("parking"))
            if areas is None or area_ids[int(city.sensors.area[i])] in areas
        ]
        self._sensor = np.array(chosen, np.intp)
        self._areas = [area_ids[int(city.sensors.area[i])] for i in chosen]
        self._keys = city.sensor_keys[self._sensor]
        self._names = [str(key) for key in self._keys.tolist()]
        self._order = np.argsort(self._keys)
        n = len(chosen)
        self._series = SeriesForecaster(n, ForecastSettings(leads=(_LEAD_STEPS,)))
        self._at = np.zeros(n, np.int64)
        self._total = np.full(n, np.nan)
        self._free = np.full(n, np.nan)
        self._in_step = np.full(n, np.nan)
        self._step: int | None = None
        self._published = np.full(n, np.nan)
        self._published_step = np.full(n, _UNKNOWN, np.int64)
        self._changed = self._closed = False
        """Since the state was written: whether anything came, whether a step was closed."""

    def __len__(self) -> int:
        return len(self._keys)

    def observe(self, readings: Columns) -> list[ParkingForecast]:
        """Take in readings of the kind ``parking``; return the forecasts that are news."""
        if not len(self):
            return []
        at = np.searchsorted(self._keys[self._order], readings.sensor_key)
        at = self._order[at.clip(max=len(self) - 1)]
        # Levels may come twice; an older one of a sensor must not set it back.
        mine = (self._keys[at] == readings.sensor_key) & (readings.ts > self._at[at])
        known = np.flatnonzero(mine)
        free = readings.measures["availableSpotNumber"]
        total = readings.measures["totalSpotNumber"]
        steps = readings.ts // _STEP_MS
        made: list[ParkingForecast] = []
        order = known[np.argsort(readings.ts[known], kind="stable")]
        for step in np.unique(steps[order]).tolist():
            if self._step is not None and step < self._step:
                continue
            if self._step is not None and step > self._step:
                made += self._close_step(self._step)
            self._step = step
            here = order[steps[order] == step]
            self._at[at[here]] = readings.ts[here]
            self._take(at[here], free[here], total[here])
        return made

    def _take(self, park: NDArray[np.intp], free: Floats, total: Floats) -> None:
        """Keep the newest of the step; later entries win. A total that is not sent is learned."""
        self._free[park] = np.where(np.isnan(free), self._free[park], free)
        given = ~np.isnan(total)
        self._total[park[given]] = total[given]
        # Without a total the most that was ever free is the best guess of it.
        self._total[park] = np.fmax(self._total[park], np.fmax(self._free[park], 1.0))
        self._changed = self._changed or len(park) > 0
        self._in_step[park] = 1 - self._free[park] / self._total[park]

    def _close_step(self, step: int) -> list[ParkingForecast]:
        self._series.observe(step, self._in_step)
        self._in_step[:] = np.nan
        self._closed = True
        forecast = self._series.forecast()
        spaces = self._total[:, None]
        ahead = np.stack([forecast.high, forecast.mean, forecast.low])[:, :, 0]
        low, expected, high = np.clip((1 - ahead) * spaces[:, 0], 0.0, spaces[:, 0])
        moved = np.abs(expected - self._published)
        allowed = np.maximum(_PUBLISH_MOVED_SPACES, _PUBLISH_MOVED_SHARE * self._total)
        news = np.isnan(self._published) | (moved >= allowed)
        news |= step - self._published_step >= _PUBLISH_LATEST_STEPS
        chosen = np.flatnonzero(news & ~np.isnan(expected))
        self._published[chosen], self._published_step[chosen] = expected[chosen], step
        at = (step + 1) * _STEP_MS
        return [
            ParkingForecast(
                sensor_key=int(self._keys[i]),
                area=self._areas[i],
                sensor=self._city.sensors.ids[self._sensor[i]],
                at=at,
                total=float(self._total[i]),
                free=float(self._free[i]),
                ahead_min=_LEAD_STEPS * _STEP_MS / 60_000,
                expected=round(float(expected[i]), 2),
                low=round(float(low[i]), 2),
                high=round(float(high[i]), 2),
            )
            for i in chosen.tolist()
        ]

    def changed(self) -> dict[str, bytes | None]:
        """Return the state to be kept: of the open step always, what was learned once an hour.

        Nothing where nothing came since the last call.
        """
        if not self._changed:
            return {}
        ids = np.array(self._names)
        now = {name: getattr(self, f"_{name}") for name in _NOW}
        now |= {"ids": ids, "step": np.array(_UNKNOWN if self._step is None else self._step)}
        items: dict[str, bytes | None] = {"parking/now": forecast_state.pack(now)}
        if self._closed and self._series.step is not None:
            recent = forecast_state.recent_arrays(self._series) | {
                "ids": ids,
                "published": self._published,
                "published_step": self._published_step,
            }
            items["parking/recent"] = forecast_state.pack(recent)
            items |= self._learned(self._series.step)
        self._changed = self._closed = False
        return items

    def _learned(self, step: int) -> dict[str, bytes]:
        """Return what is due of what was learned: a part of the car parks each step, in turn."""
        parts = np.array_split(np.arange(len(self)), max(1, -(-len(self) // _PART)))
        turn = step % max(_LEARNED_EVERY, len(parts))
        items = {}
        if turn < len(parts):
            part = parts[turn]
            learned = forecast_state.learned_arrays(self._series, part, self._names)
            learned["ids"] = np.array(self._names)[part]
            items[f"parking/learned/{turn}"] = forecast_state.pack(learned)
        if turn == 0:
            shared = forecast_state.shared_arrays(self._series)
            items["parking/shared"] = forecast_state.pack(shared)
        return items

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave, into a new forecaster; any may be missing.

        Raises DataError for other bytes.
        """
        unpacked = {key: forecast_state.unpack(data) for key, data in items.items()}
        shared, recent = unpacked.get("parking/shared"), unpacked.get("parking/recent")
        if shared is not None:
            forecast_state.put_shared(self._series, shared)
        for key in sorted(k for k in unpacked if k.startswith("parking/learned/")):
            members = self._members(unpacked[key])
            forecast_state.put_learned(self._series, unpacked[key], members, self._names)
        if recent is not None:
            members = self._members(recent)
            forecast_state.put_recent(self._series, recent, members)
            self._put(recent, members, "published", "published_step")
            self._step = None if self._series.step is None else self._series.step + 1
        if (now := unpacked.get("parking/now")) is not None:
            self._put(now, self._members(now), *_NOW)
            step = int(forecast_state.get_array(now, "step", ()))
            self._step = self._step if step == _UNKNOWN else step

    def _put(
        self, arrays: forecast_state.Arrays, members: forecast_state.Members, *names: str
    ) -> None:
        for name in names:
            kept = forecast_state.get_array(arrays, name)
            getattr(self, f"_{name}")[members.here] = kept[members.there]

    def _members(self, arrays: forecast_state.Arrays) -> forecast_state.Members:
        return forecast_state.Members.of(forecast_state.get_array(arrays, "ids"), self._names)
