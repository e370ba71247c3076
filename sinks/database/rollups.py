"""Roll-ups over 5 minutes, 1 hour and 1 day, as SELECTs: views, or continuous aggregates.

What windows become together is declared in ``civicstream.statistics``. One SELECT serves both kinds
of roll-up; only the function that cuts time differs (``date_bin`` is in PostgreSQL itself,
continuous aggregates demand TimescaleDB's ``time_bucket``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from civicstream.kinds import KINDS, Kind
from civicstream.statistics import ENVIRONMENT, TRAFFIC, Statistic

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


def _joined(statistics: Iterable[Statistic]) -> tuple[str, ...]:
    joined = [f"{s.joined} AS {s.rollup_column}" for s in statistics if s.joined]
    return ("count(*) AS windows", *joined)


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
                _joined(TRAFFIC),
            ),
            Rollup(
                f"environment_{span.suffix}",
                "results_environment",
                span,
                "window_start",
                "area, kind, measure",
                _joined(ENVIRONMENT),
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
