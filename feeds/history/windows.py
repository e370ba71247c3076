"""Results over time in steps: of a road segment, of an area, and of the environment.

What several windows become together is declared in ``civicstream.statistics``. Of an area (w: a
window's length, n: its vehicles, L: a segment's length, v: its space-mean speed):

- space-mean speed: distance travelled by time spent, Σ n·L / Σ n·L/v
- flow, density and coverage: means over length and time (Edie 1963)
- travel time index: the time spent divided by what it would be at free flow, Σ n·L/v / Σ n·L/v_free

Steps of an hour and a day come from the roll-ups where TimescaleDB keeps these up to date
(``rolled``): only so years are read in a moment. Elsewhere the roll-ups are views that would read
everything, and the windows themselves are added up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from civicstream.statistics import ENVIRONMENT, TRAFFIC, WINDOW_LENGTH, Statistic
from feeds.history.columns import Column, column, columns
from feeds.history.listings import AREA, KIND, Filter, Listing
from feeds.history.query import Span

__all__ = [
    "ROLLUPS_UNFIT",
    "STEPS",
    "Step",
    "area_windows",
    "environment",
    "segment_windows",
    "whole_steps",
]


@dataclass(frozen=True)
class Step:
    """How long one row's time is; ``rollup``: the end of the names of the views that have it."""

    name: str
    width_ms: int
    max_days: float
    """Longest span of a segment or of the environment …"""
    max_days_of_area: float
    """… and of an area, which may have a thousand segments."""
    rollup: str | None = None

    @property
    def interval(self) -> str:
        return f"INTERVAL '{self.width_ms // 1000} seconds'"

    @property
    def bucket(self) -> str:
        """Return SQL of the start of the step that a window is in; steps begin at full UTC ones."""
        return f"date_bin({self.interval}, window_start, TIMESTAMPTZ '2000-01-01 00:00:00+00')"


STEPS = {
    step.name: step
    for step in (
        Step("1m", 60_000, 31, 1),
        Step("5m", 300_000, 31, 3),
        Step("15m", 900_000, 31, 3),
        Step("1h", 3_600_000, 366, 31, "1h"),
        Step("1d", 86_400_000, 3660, 366, "1d"),
    )
}
"""1m stands for the windows as they were published, whatever their length."""


def whole_steps(span: Span, step: Step) -> Span:
    """Return the span of the steps that begin in ``span``, so that none is shown in part."""
    width = step.width_ms
    if step.name == "1m":
        return span
    return Span(-(-span.start // width) * width, -(-span.end // width) * width)


_IN_SPAN = "window_start >= %(from)s AND window_start < %(to)s"


def _windows(statistics: Iterable[Statistic]) -> str:
    """Return the SQL of the statistics of single windows."""
    return ", ".join(s.name for s in statistics)


def _sums(statistics: Iterable[Statistic]) -> str:
    """Return the SQL of what the windows of a step make together."""
    return ", ".join(
        f"({s.joined})::bigint AS {s.name}" if s.type == "int" else f"{s.joined} AS {s.name}"
        for s in statistics
    )


def _rolled(statistics: Iterable[Statistic]) -> str:
    """Return the SQL of the roll-ups' columns under the names of the results."""
    return ", ".join(
        f"{s.rollup_column}{'::bigint' if s.type == 'int' else ''} AS {s.name}" for s in statistics
    )


def _shown(statistics: Iterable[Statistic]) -> list[Column]:
    return [column(s.name, description=s.joined_meaning) for s in statistics]


_SEGMENT = tuple(s for s in TRAFFIC if s.joined)
_ENVIRONMENT = tuple(s for s in ENVIRONMENT if s.joined)

_ROLLED_COLUMNS = ", ".join(
    f"('{table}_{step.rollup}', '{statistic.rollup_column}')"
    for table, statistics in (("traffic", _SEGMENT), ("environment", _ENVIRONMENT))
    for step in STEPS.values()
    if step.rollup
    for statistic in statistics
)
ROLLUPS_UNFIT = f"""
    SELECT 1 WHERE NOT EXISTS (SELECT FROM schema_generated WHERE continuous)
    UNION ALL
    SELECT 1 FROM (VALUES {_ROLLED_COLUMNS}) AS wanted (rollup, name) WHERE NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass(wanted.rollup) AND attname = wanted.name)"""  # noqa: S608
"""Has rows where the roll-ups are views, which read everything, or lack a statistic that was
declared after they were made: continuous aggregates keep the columns they were made with."""


def _segment_source(step: Step, *, rolled: bool) -> str:
    of_one = "segment = %(segment)s"
    if step.rollup and rolled:
        return (
            f"SELECT bucket AS window_start, bucket + {step.interval} AS window_end, "  # noqa: S608
            f"windows, {_rolled(_SEGMENT)} FROM traffic_{step.rollup} "
            f"WHERE {of_one} AND bucket >= %(from)s AND bucket < %(to)s"
        )
    if step.name == "1m":
        return (
            f"SELECT window_start, window_end, 1 AS windows, {_windows(_SEGMENT)} "  # noqa: S608
            f"FROM results_traffic WHERE {of_one} AND {_IN_SPAN}"
        )
    return (
        f"SELECT {step.bucket} AS window_start, {step.bucket} + {step.interval} AS window_end, "  # noqa: S608
        f"count(*) AS windows, {_sums(_SEGMENT)} FROM results_traffic "
        f"WHERE {of_one} AND {_IN_SPAN} GROUP BY 1, 2"
    )


def segment_windows(step: Step, *, rolled: bool = False) -> Listing:
    """Return the list of one segment's results; the route fills ``segment``, ``from``, ``to``."""
    return Listing(
        "segments/{id}/windows",
        "Traffic of one segment over time.",
        f"({_segment_source(step, rolled=rolled)}) h",
        columns(
            "window_start",
            "window_end",
            "windows",
            *_shown(_SEGMENT),
        ),
        ("window_start",),
        arrow=True,
    )


_AREA_SUMS = ", ".join(
    (
        "count(DISTINCT segment)::int AS segments",
        "sum(readings)::bigint AS readings",
        "sum(n_km) AS vehicle_km",
        "sum(flow_veh_h * km * weight) / nullif(sum(km * weight), 0) AS flow_veh_h",
        (
            "sum(n_km) FILTER (WHERE v > 0) / nullif(sum(n_km / nullif(v, 0)), 0) "
            "AS space_mean_speed_kmh"
        ),
        (
            "sum(density_veh_km_lane * km * lanes * weight) / nullif(sum(km * lanes * weight) "
            "FILTER (WHERE density_veh_km_lane IS NOT NULL), 0) AS density_veh_km_lane"
        ),
        (
            "sum(n_km / nullif(v, 0)) / nullif(sum(n_km / free_flow_kmh) FILTER (WHERE v > 0), 0) "
            "AS travel_time_index"
        ),
        (
            "coalesce(sum(km * weight) FILTER (WHERE level_of_service IN ('E', 'F')), 0) / nullif("
            "sum(km * weight) FILTER (WHERE level_of_service IS NOT NULL), 0) AS congested_share"
        ),
        "sum(coverage * km * weight) / nullif(sum(km * weight), 0) AS coverage",
    )
)
_OF_AREA = {
    "readings",
    "vehicles",
    "flow_veh_h",
    "density_veh_km_lane",
    "level_of_service",
    "coverage",
    "space_mean_speed_kmh",
}
_AREA = tuple(s for s in _SEGMENT if s.name in _OF_AREA)


def _area_source(step: Step, *, rolled: bool) -> str:
    if step.rollup and rolled:
        rows = (
            f"SELECT bucket AS window_start, bucket + {step.interval} AS window_end, "  # noqa: S608
            f"windows::double precision AS weight, segment, {_rolled(_AREA)} "
            f"FROM traffic_{step.rollup} WHERE bucket >= %(from)s AND bucket < %(to)s"
        )
    else:
        whole = step.name == "1m"
        start = "window_start" if whole else step.bucket
        end = "window_end" if whole else f"{step.bucket} + {step.interval}"
        rows = (
            f"SELECT {start} AS window_start, {end} AS window_end, {WINDOW_LENGTH} AS weight, "  # noqa: S608
            f"segment, {_windows(_AREA)} FROM results_traffic WHERE {_IN_SPAN}"
        )
    return (
        f"SELECT window_start, window_end, {_AREA_SUMS} FROM ("  # noqa: S608
        "SELECT r.*, r.space_mean_speed_kmh AS v, s.length_m / 1000 AS km, s.lanes, "
        "s.free_flow_kmh, r.vehicles * s.length_m / 1000 AS n_km "
        f"FROM segments s JOIN ({rows}) r ON r.segment = s.id WHERE s.area = %(area)s) joined "
        "GROUP BY 1, 2"
    )


def area_windows(step: Step, *, rolled: bool = False) -> Listing:
    """Return the list of one area's traffic; the route fills ``area``, ``from``, ``to``."""
    return Listing(
        "areas/{area}/windows",
        "Traffic of one area over time, all its segments together.",
        f"({_area_source(step, rolled=rolled)}) h",
        columns(
            "window_start",
            "window_end",
            "segments",
            "readings",
            Column("vehicle_km", "float", "Distance that all vehicles travelled [km]."),
            column("flow_veh_h", description="Mean over the length of the roads [veh/h]."),
            column("space_mean_speed_kmh", description="Distance by time of all [km/h]."),
            "density_veh_km_lane",
            "travel_time_index",
            Column(
                "congested_share",
                "float",
                "Share of the roads' length at level of service E or F, 0..1; of steps of an "
                "hour and more by the worst level in the step.",
                nullable=True,
            ),
            "coverage",
        ),
        ("window_start",),
        arrow=True,
    )


def _environment_source(step: Step, *, rolled: bool) -> str:
    names = "area, kind, measure"
    if step.rollup and rolled:
        return (
            f"SELECT {names}, bucket AS window_start, bucket + {step.interval} AS window_end, "  # noqa: S608
            f"{_rolled(_ENVIRONMENT)} FROM environment_{step.rollup} "
            "WHERE bucket >= %(from)s AND bucket < %(to)s"
        )
    if step.name == "1m":
        return (
            f"SELECT {names}, window_start, window_end, {_windows(_ENVIRONMENT)} "  # noqa: S608
            f"FROM results_environment WHERE {_IN_SPAN}"
        )
    return (
        f"SELECT {names}, {step.bucket} AS window_start, "  # noqa: S608
        f"{step.bucket} + {step.interval} AS window_end, {_sums(_ENVIRONMENT)} "
        f"FROM results_environment WHERE {_IN_SPAN} GROUP BY 1, 2, 3, 4, 5"
    )


def environment(step: Step, *, rolled: bool = False) -> Listing:
    """Return the list of the other kinds' results; the route fills ``from`` and ``to``."""
    return Listing(
        "environment",
        "Air, noise, weather, parking, waste, water and energy of the areas over time.",
        f"({_environment_source(step, rolled=rolled)}) h",
        columns(
            "area",
            "kind",
            "measure",
            "window_start",
            "window_end",
            *_shown(_ENVIRONMENT),
        ),
        ("window_start", "area", "kind", "measure"),
        filters=(AREA, KIND, Filter("measure", "Quantities, e.g. pm25.")),
        arrow=True,
    )
