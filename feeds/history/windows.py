"""Results over time in steps: of a road segment, of an area, and of the environment.

What several windows become together (w: a window's length, n: its vehicles, L: a segment's length):

- flow, occupancy, density, coverage: mean over time, Σ x·w / Σ w
- time-mean speed and travel time index of a segment: mean over vehicles, Σ x·n / Σ n
- space-mean speed of a segment: harmonic mean over vehicles, Σ n / Σ n/v (Wardrop 1952)
- of an area: space-mean speed = distance travelled by time spent, Σ n·L / Σ n·L/v, and flow and
  density are means over length and time (Edie 1963); the travel time index is the time spent
  divided by what it would be at free flow, Σ n·L/v / Σ n·L/v_free
- of an environment measure: Σ mean·readings / Σ readings; percentiles cannot be joined, so p95
  is the largest of the windows

Where a value is missing in a window, that window has no weight in its mean.

Steps of an hour and a day come from the roll-ups where TimescaleDB keeps these up to date
(``rolled``): only so years are read in a moment. Elsewhere the roll-ups are views that would read
everything, and the windows themselves are added up.
"""

from __future__ import annotations

from dataclasses import dataclass

from feeds.history.columns import Column, column, columns
from feeds.history.listings import AREA, KIND, Filter, Listing
from feeds.history.query import Span

__all__ = ["STEPS", "Step", "area_windows", "environment", "segment_windows", "whole_steps"]


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


_LENGTH = "extract(epoch FROM window_end - window_start)::double precision"
_IN_SPAN = "window_start >= %(from)s AND window_start < %(to)s"


def _over(column_name: str, weight: str) -> str:
    known = f"FILTER (WHERE {column_name} IS NOT NULL)"
    return f"sum({column_name} * {weight}) / nullif(sum({weight}) {known}, 0) AS {column_name}"


_SEGMENT_SUMS = ", ".join(
    (
        "count(*) AS windows",
        "sum(readings)::bigint AS readings",
        "sum(vehicles) AS vehicles",
        _over("flow_veh_h", _LENGTH),
        _over("time_mean_speed_kmh", "vehicles"),
        (
            "sum(vehicles) FILTER (WHERE space_mean_speed_kmh > 0) "
            "/ nullif(sum(vehicles / nullif(space_mean_speed_kmh, 0)), 0) AS space_mean_speed_kmh"
        ),
        _over("occupancy", _LENGTH),
        _over("density_veh_km_lane", _LENGTH),
        "max(level_of_service) AS level_of_service",
        _over("travel_time_index", "vehicles"),
        _over("coverage", _LENGTH),
    )
)
_SEGMENT_VALUES = (
    "readings",
    "vehicles",
    "flow_veh_h",
    "time_mean_speed_kmh",
    "space_mean_speed_kmh",
    "occupancy",
    "density_veh_km_lane",
    "level_of_service",
    "travel_time_index",
    "coverage",
)


def _rollup_values(names: tuple[str, ...]) -> str:
    """Return the columns of a traffic roll-up under the names of the results."""
    given = {
        "readings": "readings::bigint",
        "level_of_service": "worst_level_of_service",
    }
    return ", ".join(f"{given[n]} AS {n}" if n in given else n for n in names)


def _segment_source(step: Step, *, rolled: bool) -> str:
    of_one = "segment = %(segment)s"
    if step.rollup and rolled:
        return (
            f"SELECT bucket AS window_start, bucket + {step.interval} AS window_end, "  # noqa: S608
            f"windows, {_rollup_values(_SEGMENT_VALUES)} FROM traffic_{step.rollup} "
            f"WHERE {of_one} AND bucket >= %(from)s AND bucket < %(to)s"
        )
    if step.name == "1m":
        return (
            f"SELECT window_start, window_end, 1 AS windows, {', '.join(_SEGMENT_VALUES)} "  # noqa: S608
            f"FROM results_traffic WHERE {of_one} AND {_IN_SPAN}"
        )
    return (
        f"SELECT {step.bucket} AS window_start, {step.bucket} + {step.interval} AS window_end, "  # noqa: S608
        f"{_SEGMENT_SUMS} FROM results_traffic WHERE {of_one} AND {_IN_SPAN} GROUP BY 1, 2"
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
            "readings",
            "vehicles",
            "flow_veh_h",
            "time_mean_speed_kmh",
            "space_mean_speed_kmh",
            "occupancy",
            "density_veh_km_lane",
            column("level_of_service", description="A to F (HCM); of longer steps the worst."),
            "travel_time_index",
            "coverage",
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
_AREA_VALUES = (
    "segment",
    "readings",
    "vehicles",
    "flow_veh_h",
    "density_veh_km_lane",
    "level_of_service",
    "coverage",
    "space_mean_speed_kmh",
)


def _area_source(step: Step, *, rolled: bool) -> str:
    if step.rollup and rolled:
        rows = (
            f"SELECT bucket AS window_start, bucket + {step.interval} AS window_end, "  # noqa: S608
            f"windows::double precision AS weight, {_rollup_values(_AREA_VALUES)} "
            f"FROM traffic_{step.rollup} WHERE bucket >= %(from)s AND bucket < %(to)s"
        )
    else:
        whole = step.name == "1m"
        start = "window_start" if whole else step.bucket
        end = "window_end" if whole else f"{step.bucket} + {step.interval}"
        rows = (
            f"SELECT {start} AS window_start, {end} AS window_end, {_LENGTH} AS weight, "  # noqa: S608
            f"{', '.join(_AREA_VALUES)} FROM results_traffic WHERE {_IN_SPAN}"
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


_ENVIRONMENT_SUMS = (
    "sum(readings)::bigint AS readings, max(sensors) AS sensors, "
    "sum(mean * readings) / nullif(sum(readings), 0) AS mean, min(min) AS min, max(max) AS max, "
    "max(p95) AS p95"
)


def _environment_source(step: Step, *, rolled: bool) -> str:
    names = "area, kind, measure"
    if step.rollup and rolled:
        return (
            f"SELECT {names}, bucket AS window_start, bucket + {step.interval} AS window_end, "  # noqa: S608
            "readings::bigint AS readings, sensors, mean, min, max, largest_p95 AS p95 "
            f"FROM environment_{step.rollup} WHERE bucket >= %(from)s AND bucket < %(to)s"
        )
    if step.name == "1m":
        return (
            f"SELECT {names}, window_start, window_end, readings, sensors, mean, min, max, p95 "  # noqa: S608
            f"FROM results_environment WHERE {_IN_SPAN}"
        )
    return (
        f"SELECT {names}, {step.bucket} AS window_start, "  # noqa: S608
        f"{step.bucket} + {step.interval} AS window_end, {_ENVIRONMENT_SUMS} "
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
            "readings",
            "sensors",
            "mean",
            "min",
            "max",
            "p95",
        ),
        ("window_start", "area", "kind", "measure"),
        filters=(AREA, KIND, Filter("measure", "Quantities, e.g. pm25.")),
        arrow=True,
    )
