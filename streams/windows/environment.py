"""Statistics per area and measure of the kinds that are not traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from civicstream.events import EnvironmentRow
from civicstream.kinds import Kind
from streams.windows.grouping import GroupStatistics, group_statistics, present_groups
from streams.windows.windows import Columns

__all__ = ["AreaStatistics", "area_statistics"]


@dataclass(frozen=True)
class AreaStatistics:
    """One area's readings of one kind in one window."""

    area: int
    """Code of the area, as in the columns."""
    readings: int
    sensors: int
    measures: list[EnvironmentRow]


def area_statistics(readings: Columns, kind: Kind) -> list[AreaStatistics]:
    """Return the statistics of every area in ``readings``, which must be deduplicated.

    A measure that no sensor of the area reported has no row.
    """
    areas, group = present_groups(readings.area, int(readings.area.max()) + 1)
    n = len(areas)
    total = np.bincount(group, minlength=n)
    sensors = _distinct_sensors(group, readings.sensor_key, n)
    per_measure = [_measure_statistics(readings, name, group, n) for name in kind.measure_names]
    return [
        AreaStatistics(
            area=int(areas[i]),
            readings=int(total[i]),
            sensors=int(sensors[i]),
            measures=[
                _row(name, statistics, int(reporting[i]), i)
                for name, (statistics, reporting) in zip(
                    kind.measure_names, per_measure, strict=True
                )
                if statistics.count[i]
            ],
        )
        for i in range(n)
    ]


def _distinct_sensors(group: NDArray[Any], sensor_key: NDArray[Any], groups: int) -> NDArray[Any]:
    """Return how many different sensors each group has."""
    order = np.lexsort((sensor_key, group))
    g, s = group[order], sensor_key[order]
    new = np.ones(len(order), bool)
    new[1:] = (g[1:] != g[:-1]) | (s[1:] != s[:-1])
    return np.bincount(g[new], minlength=groups)


def _measure_statistics(
    readings: Columns,
    name: str,
    group: NDArray[Any],
    groups: int,
) -> tuple[GroupStatistics, NDArray[Any]]:
    values = readings.measures[name]
    measured = ~np.isnan(values)
    g = group[measured]
    return (
        group_statistics(g, values[measured], groups),
        _distinct_sensors(g, readings.sensor_key[measured], groups),
    )


def _row(name: str, s: GroupStatistics, sensors: int, i: int) -> EnvironmentRow:
    return EnvironmentRow(
        measure=name,
        readings=int(s.count[i]),
        sensors=sensors,
        **{statistic: float(of_groups[i]) for statistic, of_groups in s.values.items()},
    )
