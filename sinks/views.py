"""Views of what traffic intelligence has found: the present state, and how good forecasts were."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["View", "statements", "views"]


@dataclass(frozen=True)
class View:
    """A view and its SELECT; later ones may stand on earlier ones of the same group."""

    name: str
    select: str


# "The newest" as "there is no newer one", not as DISTINCT ON: so a condition on the state is
# applied before, through the partial indexes.
_INCIDENTS = """
    SELECT h.* FROM incidents h WHERE NOT EXISTS (
        SELECT FROM incidents newer WHERE newer.id = h.id AND newer.version > h.version)"""

_ANOMALIES = """
    SELECT h.id, h.version, h.state, h.kind, h.area, h.sensor_key,
        coalesce(h.sensor, s.sensor) AS sensor, s.segment, s.lon, s.lat, h.measure, h.score,
        h.value, h.expected, h.low, h.high, h.started_at, h.last_at, h.window_end, h.computed_at
    FROM anomalies h LEFT JOIN sensors s USING (sensor_key)
    WHERE NOT EXISTS (
        SELECT FROM anomalies newer WHERE newer.id = h.id AND newer.version > h.version)"""

_SENSOR_HEALTH = """
    SELECT h.sensor_key, h.kind, h.area, coalesce(h.sensor, s.sensor) AS sensor, s.segment,
        s.lon, s.lat, h.health, h.reason, h.since, h.before, h.window_end, h.computed_at
    FROM sensor_health h LEFT JOIN sensors s USING (sensor_key)
    WHERE h.health <> 'ok' AND NOT EXISTS (
        SELECT FROM sensor_health newer
        WHERE newer.sensor_key = h.sensor_key AND newer.window_end > h.window_end)"""


def _window_before(moment: str, window_s: int) -> str:
    """Return the start of the window that ends at ``moment``, or else contains it.

    Windows lie on multiples of their size since 1970.
    """
    return (
        f"date_bin(INTERVAL '{window_s} seconds', {moment} - INTERVAL '1 microsecond', "
        "TIMESTAMPTZ '1970-01-01 00:00:00+00')"
    )


_MEASURES = {"speed": ("speed_kmh", "space_mean_speed_kmh"), "flow": ("flow_veh_h", "flow_veh_h")}
"""Measure -> column of the forecasts, column of the results."""


def _errors(measure: str) -> str:
    forecast, result = _MEASURES[measure]
    low, high = (forecast.replace(measure, f"{measure}_{end}", 1) for end in ("low", "high"))
    return f"""
        f.{forecast} AS forecast_{forecast}, f.{low}, f.{high},
        actual.{result} AS actual_{forecast},
        f.{forecast} - actual.{result} AS {measure}_error,
        abs(f.{forecast} - actual.{result}) AS {measure}_absolute_error,
        actual.{result} BETWEEN f.{low} AND f.{high} AS {measure}_inside,
        present.{result} - actual.{result} AS {measure}_persistence_error"""


def _accuracy(window_s: int) -> str:
    """Return every forecast whose target has come, with what came.

    Both joins are on a whole unique key of the results, so that they can be looked up or hashed.
    """
    errors = ",".join(_errors(measure) for measure in _MEASURES)
    target, made_at = (_window_before(f"f.{at}", window_s) for at in ("target", "made_at"))
    return f"""
    SELECT f.area, f.segment, f.made_at, f.target, f.horizon_min, {errors}
    FROM forecasts f
    JOIN results_traffic actual
        ON actual.segment = f.segment AND actual.window_start = {target}
    LEFT JOIN results_traffic present
        ON present.segment = f.segment AND present.window_start = {made_at}"""  # noqa: S608 names from above


def _summary(by: str) -> str:
    """Return the measures of accuracy per day (UTC) of ``made_at`` and ``by``.

    n counts the forecasts that have both a value and a result; persistence_n, of these, the ones
    with a result to persist in.
    """
    columns = []
    for m in _MEASURES:
        both = f"FILTER (WHERE {m}_error IS NOT NULL)"
        columns += [
            f"count({m}_error) AS {m}_n",
            f"sqrt(avg({m}_error ^ 2)) AS {m}_rmse",
            f"avg({m}_absolute_error) AS {m}_mae",
            f"avg({m}_error) AS {m}_bias",
            f"avg({m}_inside::int) {both} AS {m}_coverage",
            f"count({m}_persistence_error) {both} AS {m}_persistence_n",
            f"sqrt(avg({m}_persistence_error ^ 2) {both}) AS {m}_persistence_rmse",
            f"avg(abs({m}_persistence_error)) {both} AS {m}_persistence_mae",
        ]
    listed = ", ".join(columns)
    day = "date_bin(INTERVAL '1 day', made_at, TIMESTAMPTZ '1970-01-01 00:00:00+00')"
    return f"SELECT {day} AS day, {by}, {listed} FROM forecast_accuracy GROUP BY day, {by}"  # noqa: S608 names from above


def views(window_s: int) -> dict[str, list[View]]:
    """Return group -> its views in order; ``window_s`` is the size of the windows of results."""
    return {
        "incidents": [View("incidents_current", _INCIDENTS)],
        "anomalies": [View("anomalies_current", _ANOMALIES)],
        "sensor health": [View("sensor_health_current", _SENSOR_HEALTH)],
        "forecast accuracy": [
            View("forecast_accuracy", _accuracy(window_s)),
            View("forecast_accuracy_by_horizon", _summary("horizon_min")),
            View("forecast_accuracy_by_segment", _summary("area, segment, horizon_min")),
        ],
    }


def statements(group: list[View]) -> list[str]:
    """Return what makes the views of a group anew."""
    return [
        *(f"DROP VIEW IF EXISTS {view.name}" for view in reversed(group)),
        *(f"CREATE VIEW {view.name} AS {view.select}" for view in group),
    ]
