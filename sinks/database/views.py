"""Views of what traffic intelligence has found: the present state, and how good forecasts were."""

from __future__ import annotations

from sinks.database.service_views import SERVICE_VIEWS

__all__ = ["view_statements"]

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


_EPOCH = "TIMESTAMPTZ '1970-01-01 00:00:00+00'"
_DAY = "INTERVAL '24 hours'"  # not '1 day', which may be an hour more or less in the session's zone


def _window_before(moment: str, window_s: int) -> str:
    """Return the start of the window that ends at ``moment``, or else contains it.

    Windows lie on multiples of their size since 1970.
    """
    return f"date_bin(INTERVAL '{window_s} seconds', {moment} - INTERVAL '1 microsecond', {_EPOCH})"


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


def _accuracy(window_s: int, bounds: str) -> str:
    """Return the forecasts whose target has come, with what came.

    Both joins are on a whole unique key of the results, so that they can be looked up or hashed;
    ``bounds`` keep the hash from being of years of results.
    """
    errors = ",".join(_errors(measure) for measure in _MEASURES)
    target, made_at = (_window_before(f"f.{at}", window_s) for at in ("target", "made_at"))
    return f"""
    SELECT f.area, f.segment, f.made_at, f.target, f.horizon_min, {errors}
    FROM forecasts f
    JOIN results_traffic actual
        ON actual.segment = f.segment AND actual.window_start = {target}
    LEFT JOIN results_traffic present
        ON present.segment = f.segment AND present.window_start = {made_at}
        AND present.window_start {bounds}
    WHERE actual.window_start {bounds}"""  # noqa: S608 names from above


_SINCE_THE_OLDEST = f"> (SELECT min(made_at) - {_DAY} FROM forecasts)"  # noqa: S608
_AROUND_IT = f"BETWEEN $1 - {_DAY} AND $2 + {_DAY}"

_SUMS = {
    "n": ("bigint", "count({m}_error)"),
    "sum": ("double precision", "sum({m}_error)"),
    "absolute": ("double precision", "sum({m}_absolute_error)"),
    "squares": ("double precision", "sum({m}_error ^ 2)"),
    "inside": ("bigint", "count(*) FILTER (WHERE {m}_inside)"),
    "persistence_n": ("bigint", "count(*) FILTER (WHERE {both})"),
    "persistence_absolute": (
        "double precision",
        "sum(abs({m}_persistence_error)) FILTER (WHERE {both})",
    ),
    "persistence_squares": (
        "double precision",
        "sum({m}_persistence_error ^ 2) FILTER (WHERE {both})",
    ),
}
"""Name -> SQL type and formula; a forecast counts where there is both a value and a result."""


def _error_sums(window_s: int) -> str:
    """Return the definition of the function that adds up the errors of a stretch of time.

    A function, because its query is planned for the very stretch: of the hypertables only its
    chunks are read, and no plan is made for years of results.
    """
    returned, sums = [], []
    for m in _MEASURES:
        both = f"{m}_error IS NOT NULL AND {m}_persistence_error IS NOT NULL"
        for name, (sql_type, formula) in _SUMS.items():
            returned.append(f"{m}_{name} {sql_type}")
            sums.append(formula.format(m=m, both=both))
    errors = f"{_accuracy(window_s, _AROUND_IT)} AND f.made_at >= $1 AND f.made_at < $2"
    return f"""
    CREATE FUNCTION forecast_error_sums(since timestamptz, until timestamptz)
    RETURNS TABLE (area text, segment text, horizon_min integer, {", ".join(returned)})
    LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $function$
    BEGIN
        RETURN QUERY EXECUTE $query$
            SELECT area, segment, horizon_min, {", ".join(sums)}
            FROM ({errors}) AS errors GROUP BY area, segment, horizon_min
        $query$ USING since, until;
    END $function$"""  # noqa: S608 names from above


# From one day that has forecasts to the next, by the index on made_at.
_DAYS = f"""
    WITH RECURSIVE days (day) AS (
        SELECT date_bin({_DAY}, min(made_at), {_EPOCH}) FROM forecasts
        UNION ALL
        SELECT (SELECT date_bin({_DAY}, min(made_at), {_EPOCH}) FROM forecasts
                WHERE made_at >= days.day + {_DAY})
        FROM days WHERE days.day IS NOT NULL)"""  # noqa: S608 no values

_MEASURES_OF_ACCURACY = """
    sum({m}_n)::bigint AS {m}_n,
    sqrt(sum({m}_squares) / nullif(sum({m}_n), 0)::double precision) AS {m}_rmse,
    sum({m}_absolute) / nullif(sum({m}_n), 0)::double precision AS {m}_mae,
    sum({m}_sum) / nullif(sum({m}_n), 0)::double precision AS {m}_bias,
    sum({m}_inside)::double precision / nullif(sum({m}_n), 0)::double precision AS {m}_coverage,
    sum({m}_persistence_n)::bigint AS {m}_persistence_n,
    sqrt(sum({m}_persistence_squares) / nullif(sum({m}_persistence_n), 0)::double precision)
        AS {m}_persistence_rmse,
    sum({m}_persistence_absolute) / nullif(sum({m}_persistence_n), 0)::double precision
        AS {m}_persistence_mae"""


def _summary(by: str) -> str:
    """Return the measures of accuracy per day (UTC) of ``made_at`` and ``by``.

    A condition on the day is applied before anything of another day is read.
    """
    measures = ",".join(_MEASURES_OF_ACCURACY.format(m=m) for m in _MEASURES)
    return f"""{_DAYS}
    SELECT days.day, {by}, {measures}
    FROM days CROSS JOIN LATERAL forecast_error_sums(days.day, days.day + {_DAY})
    WHERE days.day IS NOT NULL GROUP BY days.day, {by}"""  # noqa: S608 names from above


def view_statements(window_s: int) -> dict[str, list[str]]:
    """Return group -> the statements that recreate its views.

    ``window_s`` is the size of the windows whose results are stored [s].
    """
    summaries = {
        "forecast_accuracy_by_horizon": _summary("horizon_min"),
        "forecast_accuracy_by_segment": _summary("area, segment, horizon_min"),
    }
    return {
        "incidents": _recreate({"incidents_current": _INCIDENTS}),
        "anomalies": _recreate({"anomalies_current": _ANOMALIES}),
        "sensor health": _recreate({"sensor_health_current": _SENSOR_HEALTH}),
        **{group: _recreate(made) for group, made in SERVICE_VIEWS.items()},
        "forecast accuracy": [
            *_recreate({"forecast_accuracy": _accuracy(window_s, _SINCE_THE_OLDEST)}),
            *(f"DROP VIEW IF EXISTS {name}" for name in summaries),
            "DROP FUNCTION IF EXISTS forecast_error_sums",
            _error_sums(window_s),
            *_recreate(summaries),
        ],
    }


def _recreate(made: dict[str, str]) -> list[str]:
    return [
        statement
        for name, select in made.items()
        for statement in (f"DROP VIEW IF EXISTS {name}", f"CREATE VIEW {name} AS {select}")
    ]
