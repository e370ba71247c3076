"""What sensors tell of containers and car parks, made into forecasts; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from civicstream.city import City
from civicstream.service_events import BinForecast, ParkingForecast
from streams.dispatch.demand.bins import BinForecaster
from streams.dispatch.demand.parking import ParkingForecaster
from streams.windows.levels import Levels

__all__ = ["ResourceForecaster"]


class ResourceForecaster:
    """The forecasters of the whole city; same state and same levels, same forecasts."""

    def __init__(self, city: City, offset_ms: Callable[[int], int]) -> None:
        """``offset_ms`` tells local time minus UTC at a time [ms]: bins are filled by it."""
        self._bins = BinForecaster(city)
        self._parks = ParkingForecaster(city)
        self._offset_ms = offset_ms

    def apply(self, event: Levels, _now_ms: int) -> list[BinForecast | ParkingForecast]:
        """Take levels in and return the forecasts that are news; levels that came before: none."""
        if event.kind == "parking":
            return [*self._parks.observe(event.readings)]
        offset = self._offset_ms(event.window_end)
        return [*self._bins.observe(event.readings, [event.area], offset)]

    def tick(self, _now_ms: int) -> list[BinForecast | ParkingForecast]:
        """Return nothing: forecasts are made of levels, and levels come all the time."""
        return []

    def changed(self) -> dict[str, bytes | None]:
        """Return the items of state that changed since the last call."""
        return {**self._bins.changed(), **self._parks.changed()}

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave; raise DataError for others."""
        parks = {k: v for k, v in items.items() if k.startswith("parking/")}
        self._parks.restore(parks)
        self._bins.restore({k: v for k, v in items.items() if k not in parks})
