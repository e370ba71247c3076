"""What the tour planner knows, record by record, and what it weighs; checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from civicstream.errors import ConfigurationError
from civicstream.service_events import BinForecast, Tour, Unit
from streams.runtime.state_items import StateStore

__all__ = ["SKILL", "BinRecord", "CollectionSettings", "CollectionStore", "TruckRecord"]

SKILL = "bin_collection"
"""A unit that has it is a waste truck: it drives tours and is sent to nothing else."""


@dataclass(frozen=True)
class CollectionSettings:
    """Times and prices of the tours."""

    next_visit_h: float = 12.0
    """A container that is full within this time is taken along: two tours a day."""
    worth_capacity: float = 0.5
    """A truck sets out when so much of it would be filled …"""
    urgent_min: float = 30.0
    """… or when a container is full within this time."""
    stop_s: float = 120.0
    """To empty a container."""
    overflow_km_per_h: float = 2.0
    """An hour that a full container waits weighs as much as so many kilometres."""
    margin_km: float = 1.5
    """A tour is changed under way only for a plan that is so much better."""
    look_every_s: float = 30.0
    """How often trucks that wait are planned for."""
    revise_every_s: float = 300.0
    """How often a tour under way is looked at again."""
    most_stops: int = 150
    """The most urgent containers that one plan looks at: bounds its time."""
    set_out_within_min: float = 10.0
    """A truck that has not set out by then does not get its tour."""
    silent_bar_min: float = 30.0
    """How long such a truck is not planned for."""
    lost_after_min: float = 30.0
    """A truck under way that says nothing for this long has given its tour up."""
    visit_believed_min: float = 60.0
    """Grace period: how long a container counts as emptied before its sensor confirms it."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ConfigurationError(f"collection.{name} is {value}: give a number above 0")


class TruckRecord(msgspec.Struct):
    """A truck as it last reported."""

    unit: Unit
    depot: tuple[float, float]
    """Lon, lat of where its shift began: where it unloads."""
    tour: str | None = None
    barred_until: int = 0
    km: float = 0.0
    """Driven on the present tour, between the places that it reported."""


class BinRecord(msgspec.Struct):
    """The newest forecast of a container."""

    forecast: BinForecast
    full_since: int | None = None
    visited_at: int | None = None
    """By a truck; until its sensor has said that it was emptied."""


class TourRecord(msgspec.Struct):
    """The newest version of a tour that stands."""

    tour: Tour
    looked_at: int
    """When it was last planned, or looked at again."""


class CollectionStore:
    """Tables by id. Whoever changes a record in place touches its id, that it is written down."""

    def __init__(self) -> None:
        self._items = StateStore("collection")
        self.trucks = self._items.table("truck", TruckRecord, str)
        self.bins = self._items.table("bin", BinRecord, int)
        self.tours = self._items.table("tour", TourRecord, str)

    def changed(self) -> dict[str, bytes | None]:
        """Return the records changed since the last call, None for those removed."""
        return self._items.changed()

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Put back what ``changed`` returned, all of it; raise DataError for foreign bytes."""
        self._items.restore(items)
