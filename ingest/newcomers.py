"""How many areas and sensors that the city model does not have are let in, in an hour.

Each of them costs state in the worker, rows in the database and items in the live feed for good,
and a device may invent as many as it likes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set

from civicstream.errors import RejectedReading
from civicstream.rate_limit import RateLimit
from civicstream.settings import GatewaySettings

__all__ = ["Newcomers"]

# Areas that were let in and are remembered; beyond it the one longest out of use counts as new.
_MAX_AREAS = 20_000
_HOUR_S = 3600


class Newcomers:
    """Lets areas and sensors in; ``known_areas`` are those of the city model."""

    def __init__(self, gateway: GatewaySettings, known_areas: Set[str] = frozenset()) -> None:
        self._known_areas = known_areas
        self._admitted: OrderedDict[str, None] = OrderedDict()
        self._areas_per_hour = gateway.new_areas_per_hour
        self._sensors_per_hour = gateway.new_sensors_per_hour
        self._areas = RateLimit(self._areas_per_hour / _HOUR_S, self._areas_per_hour)
        self._sensors = RateLimit(self._sensors_per_hour / _HOUR_S, self._sensors_per_hour)

    def admit_area(self, area: str, now: float) -> None:
        """Raise RejectedReading when too many new areas have come; ``now`` is monotonic [s]."""
        if area in self._known_areas:
            return
        if area not in self._admitted:
            if not self._areas.admit("", area, now):
                raise RejectedReading(
                    "too_many_new_areas",
                    f"area {area[:60]!r} is new, and more than {self._areas_per_hour} new ones "
                    "have come within an hour; add it to the city model, or raise "
                    "CIVICSTREAM_GATEWAY__NEW_AREAS_PER_HOUR",
                )
            self._admitted[area] = None
            if len(self._admitted) > _MAX_AREAS:
                self._admitted.popitem(last=False)
        self._admitted.move_to_end(area)

    def admit_sensor(self, kind: str, area: str, sensor: str, now: float) -> None:
        """Raise RejectedReading when too many new sensors, or areas, have come."""
        self.admit_area(area, now)
        if not self._sensors.admit("", f"{kind}/{area}/{sensor}", now):
            raise RejectedReading(
                "too_many_new_sensors",
                f"sensor {sensor[:60]!r} of kind {kind} in area {area[:60]!r} is new, and more "
                f"than {self._sensors_per_hour} new ones have come within an hour; add it to the "
                "city model, or raise CIVICSTREAM_GATEWAY__NEW_SENSORS_PER_HOUR",
            )
