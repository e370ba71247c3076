"""Roll-ups over 5 minutes, 1 hour and 1 day, as SELECTs: views, or continuous aggregates.

The same SELECT serves both; only the function that cuts time differs (``date_bin`` is in
PostgreSQL itself, continuous aggregates demand TimescaleDB's ``time_bucket``).
"""

from __future__ import annotations

from dataclasses import dataclass

from civicstream.kinds import KINDS, Kind

__all__ = ["SPANS", "Rollup", "Span", "rollups"]


@dataclass(frozen=True)
class Span:
    """How wide a bucket is; ``refresh_every`` is for continuous aggregates only."""

    suffix: str
    width: str
    refresh_every: str


SPANS = (
    Span("5min", "5 minutes", "5 minutes"),
    Span("1h", "1 hour", "30 minutes"),
    Span("1d", "1 day", "6 hours"),
)


@dataclass(frozen=True)
class Rollup:
    """One roll-up of one table at one span."""

    name: str
    source: str
    span: Span
    time_column: str
    group_by: str
    aggregates: tuple[str, ...]

    def select(self, *, continuous: bool) -> str:
        """Return the SELECT; ``continuous`` for a continuous aggregate. Buckets are UTC."""
        if continuous:
            bucket = f"time_bucket(INTERVAL '{self.span.width}', {self.time_column})"
        else:
            bucket = (
                f"date_bin(INTERVAL '{self.span.width}', {self.time_column}, "
                "TIMESTAMPTZ '2000-01-01 00:00:00+00')"
            )
        columns = ", ".join((self.group_by, f"{bucket} AS bucket", *self.aggregates))
        return f"SELECT {columns} FROM {self.source} GROUP BY {self.group_by}, bucket"  # noqa: S608 from declarations


# Means over time weigh each window by its length; speeds weigh each window by its vehicles:
# arithmetic for the time-mean, harmonic for the space-mean speed (Wardrop 1952), so that the
# roll-up is what one long window would have given.
_LENGTH = "extract(epoch FROM window_end - window_start)::double precision"


def _over_time(column: str) -> str:
    return (
        f"sum({column} * {_LENGTH}) / "
        f"nullif(sum({_LENGTH}) FILTER (WHERE {column} IS NOT NULL), 0) AS {column}"
    )


def _over_vehicles(column: str) -> str:
    return (
        f"sum({column} * vehicles) / "
        f"nullif(sum(vehicles) FILTER (WHERE {column} IS NOT NULL), 0) AS {column}"
    )


_TRAFFIC = (
    "count(*) AS windows",
    "sum(readings) AS readings",
    "sum(vehicles) AS vehicles",
    _over_time("flow_veh_h"),
    _over_vehicles("time_mean_speed_kmh"),
    (
        "sum(vehicles) FILTER (WHERE space_mean_speed_kmh > 0) / "
        "nullif(sum(vehicles / nullif(space_mean_speed_kmh, 0)), 0) AS space_mean_speed_kmh"
    ),
    _over_time("occupancy"),
    _over_time("density_veh_km_lane"),
    "max(level_of_service) AS worst_level_of_service",
    _over_vehicles("travel_time_index"),
    _over_time("coverage"),
)

# Percentiles of windows cannot be joined into the percentile of the whole: the largest is kept.
_ENVIRONMENT = (
    "count(*) AS windows",
    "sum(readings) AS readings",
    "max(sensors) AS sensors",
    "sum(mean * readings) / nullif(sum(readings), 0) AS mean",
    "min(min) AS min",
    "max(max) AS max",
    "max(p95) AS largest_p95",
)

_TRAFFIC_READINGS = (
    "sum(intensity) AS vehicles",
    "sum(intensity) * 3600 / nullif(sum(period), 0) AS flow_veh_h",
    (
        "sum(average_vehicle_speed * intensity) / "
        "nullif(sum(intensity) FILTER (WHERE average_vehicle_speed IS NOT NULL), 0) "
        "AS time_mean_speed_kmh"
    ),
)


def _reading_aggregates(kind: Kind) -> tuple[str, ...]:
    aggregates = ["count(*) AS readings"]
    for measure in kind.measures:
        c = measure.column
        # Sums and means are of the readings; an integer's mean must not come as numeric.
        aggregates += [
            f"avg({c}::double precision) AS {c}_mean",
            f"min({c}) AS {c}_min",
            f"max({c}) AS {c}_max",
        ]
    if kind.name == "traffic":
        aggregates += _TRAFFIC_READINGS
    return tuple(aggregates)


def rollups() -> list[Rollup]:
    """Return every roll-up: of the results, and of the readings of every kind."""
    made = []
    for span in SPANS:
        made += [
            Rollup(
                f"traffic_{span.suffix}",
                "results_traffic",
                span,
                "window_start",
                "area, segment",
                _TRAFFIC,
            ),
            Rollup(
                f"environment_{span.suffix}",
                "results_environment",
                span,
                "window_start",
                "area, kind, measure",
                _ENVIRONMENT,
            ),
        ]
        made += [
            Rollup(
                f"readings_{kind.name}_{span.suffix}",
                f"readings_{kind.name}",
                span,
                "ts",
                "sensor_key",
                _reading_aggregates(kind),
            )
            for kind in KINDS.values()
        ]
    return made
