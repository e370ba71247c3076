"""The statistics of a window, declared once: what each means, and what several windows make of it.

A statistic is a field of a result's rows (``events``), a value that ``streams/windows``
calculates, and an entry here. From the entry follow its column in the database, the roll-ups,
the steps of the history and the columns that the API shows.

What several windows become together (w: a window's length, n: its vehicles):

- mean over time: Σ x·w / Σ w; mean over vehicles: Σ x·n / Σ n
- space-mean speed: harmonic mean over vehicles, Σ n / Σ n/v (Wardrop 1952)
- mean of an environment measure: Σ mean·readings / Σ readings

so that they are what one long window would have given. Where a value is missing in a window, that
window has no weight in its mean. Percentiles cannot be joined: of the environment's the largest
is kept, of the roads' none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import NoneType
from typing import Literal, get_args

import msgspec

from civicstream.events import EnvironmentRow, TrafficRow

__all__ = ["ENVIRONMENT", "TRAFFIC", "WINDOW_LENGTH", "Statistic"]

WINDOW_LENGTH = "extract(epoch FROM window_end - window_start)::double precision"
"""SQL of the length of a window [s]."""


@dataclass(frozen=True)
class Statistic:
    """One statistic of a window."""

    name: str
    """Field of the results' rows and column of their table."""
    meaning: str
    """One sentence with the unit, for readers of the API."""
    joined: str | None
    """SQL aggregate over the windows' rows; None: it is only kept by window."""
    rolled: str = ""
    """Column of the roll-ups where it has another name there, one that says how it was joined."""
    joined_meaning: str = ""
    """Its meaning in longer steps, where that is another one."""
    type: Literal["int", "float", "text"] = "float"
    """Follows from the field of the results' rows, as does ``nullable``."""
    nullable: bool = False

    @property
    def rollup_column(self) -> str:
        return self.rolled or self.name


def _over_time(column: str) -> str:
    known = f"FILTER (WHERE {column} IS NOT NULL)"
    return f"sum({column} * {WINDOW_LENGTH}) / nullif(sum({WINDOW_LENGTH}) {known}, 0)"


def _over_vehicles(column: str) -> str:
    known = f"FILTER (WHERE {column} IS NOT NULL)"
    return f"sum({column} * vehicles) / nullif(sum(vehicles) {known}, 0)"


def _declared(row: type[msgspec.Struct], *statistics: Statistic) -> tuple[Statistic, ...]:
    """Return the statistics in the order of the fields of ``row``, with their type and null.

    Raise TypeError where fields and statistics differ; the first field says whose row it is.
    """
    _, *fields = msgspec.structs.fields(row)
    by_name = {statistic.name: statistic for statistic in statistics}
    if by_name.keys() != {field.name for field in fields}:
        raise TypeError(
            f"{row.__name__} has the fields {', '.join(field.name for field in fields)}, but "
            f"civicstream/statistics.py declares {', '.join(by_name)}: they must be the same"
        )
    made = []
    for field in fields:
        types = set(get_args(field.type)) or {field.type}
        (of,) = types - {NoneType}
        nullable = NoneType in types
        made.append(replace(by_name[field.name], type=_TYPES[of], nullable=nullable))
    return tuple(made)


_TYPES: dict[type, Literal["int", "float", "text"]] = {int: "int", float: "float", str: "text"}

TRAFFIC = _declared(
    TrafficRow,
    Statistic("readings", "Readings in the window.", "sum(readings)"),
    Statistic("vehicles", "Vehicles counted.", "sum(vehicles)"),
    Statistic("flow_veh_h", "Vehicles an hour [veh/h].", _over_time("flow_veh_h")),
    Statistic(
        "time_mean_speed_kmh",
        "Mean of the vehicles' speeds at a point [km/h].",
        _over_vehicles("time_mean_speed_kmh"),
    ),
    Statistic(
        "space_mean_speed_kmh",
        "Harmonic mean of the vehicles' speeds [km/h].",
        "sum(vehicles) FILTER (WHERE space_mean_speed_kmh > 0) / "
        "nullif(sum(vehicles / nullif(space_mean_speed_kmh, 0)), 0)",
    ),
    Statistic("p85_speed_kmh", "Speed that 85 % keep below [km/h].", None),
    Statistic(
        "occupancy",
        "Share of time that a vehicle stands over the detector, 0..1.",
        _over_time("occupancy"),
    ),
    Statistic(
        "density_veh_km_lane",
        "Vehicles on a kilometre of a lane [veh/km/lane].",
        _over_time("density_veh_km_lane"),
    ),
    Statistic(
        "level_of_service",
        "A (free) to F (jammed), HCM.",
        "max(level_of_service)",
        rolled="worst_level_of_service",
        joined_meaning="A to F (HCM); of longer steps the worst.",
    ),
    Statistic(
        "travel_time_index",
        "Travel time divided by that of the empty road.",
        _over_vehicles("travel_time_index"),
    ),
    Statistic(
        "coverage",
        "Share of the expected sensors that reported, 0..1.",
        _over_time("coverage"),
    ),
)
"""Of a road segment."""

ENVIRONMENT = _declared(
    EnvironmentRow,
    Statistic("readings", "Readings in the window.", "sum(readings)"),
    Statistic("sensors", "Sensors that reported.", "max(sensors)"),
    Statistic(
        "mean",
        "Mean, in the measure's unit.",
        "sum(mean * readings) / nullif(sum(readings), 0)",
    ),
    Statistic("min", "Smallest, in the measure's unit.", "min(min)"),
    Statistic("max", "Largest, in the measure's unit.", "max(max)"),
    Statistic(
        "p95",
        "What 95 % are below; of longer steps the largest of the windows.",
        "max(p95)",
        rolled="largest_p95",
    ),
)
"""Of one measure of a kind in an area."""
