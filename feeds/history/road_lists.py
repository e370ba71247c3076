"""Lists of the city's model and of what its sensors showed."""

from __future__ import annotations

from feeds.history.columns import Column, column, columns
from feeds.history.listings import AREA, KIND, MIDDLE, MIDDLE_JOIN, Filter, Listing, Times

__all__ = [
    "ACCURACY",
    "ANOMALIES",
    "AREAS",
    "FORECASTS",
    "INCIDENTS",
    "SEGMENTS",
    "SENSORS",
    "SENSOR_HEALTH",
]

_AT_LEAST_SHARE = "Smallest severity, share of the capacity lost, 0..1."
_SENSOR_ID = Column("id", "text", "sensor_key as text.", sql="h.sensor_key::text")

AREAS = Listing(
    "areas",
    "Districts with their outline and how much is in them.",
    "(SELECT a.id, a.name, a.outline, "
    "(SELECT count(*) FROM segments s WHERE s.area = a.id) AS segments, "
    "(SELECT coalesce(sum(s.length_m), 0) FROM segments s WHERE s.area = a.id) AS length_m "
    "FROM areas a) h",
    columns(
        "id",
        "name",
        column("segments", description="Road segments in it."),
        column("length_m", description="Their length together [m]."),
        column("geometry", "h.outline"),
    ),
    ("id",),
    place="geometry",
    tag="city",
)

SEGMENTS = Listing(
    "segments",
    "Road segments of the city model.",
    "segments h",
    columns(
        "id",
        "area",
        "corridor",
        "position",
        "road_class",
        "lanes",
        "length_m",
        "free_flow_kmh",
        "upstream",
        "downstream",
        column("geometry", "h.line"),
    ),
    ("id",),
    filters=(
        AREA,
        Filter("corridor", "Roads."),
        Filter("road_class", "Classes of road.", choices=("freeway", "street")),
    ),
    place="geometry",
    tag="city",
)

SENSORS = Listing(
    "sensors",
    "Sensors, with what is wrong with them now.",
    "(SELECT s.*, coalesce(c.health, 'ok') AS health, c.reason, c.since FROM sensors s "
    "LEFT JOIN sensor_health_current c USING (sensor_key)) h",
    columns(
        _SENSOR_ID,
        "sensor_key",
        "kind",
        "area",
        "sensor",
        Column("segment", "text", "Road segment it measures.", nullable=True),
        "lane",
        "interval_s",
        "lon",
        "lat",
        "health",
        Column("reason", "text", "What is wrong with it, one sentence.", nullable=True),
        Column("since", "time", "Since when.", nullable=True),
        "first_seen",
    ),
    ("sensor_key",),
    filters=(
        AREA,
        KIND,
        Filter("segment", "Road segments."),
        Filter("sensor", "Ids within kind and area."),
        Filter(
            "health",
            "States of health.",
            choices=("ok", "stuck", "flat", "impossible", "silent", "skewed", "drifting"),
        ),
    ),
    place="point",
    tag="city",
)

INCIDENTS = Listing(
    "incidents",
    "Traffic incidents, the newest version of each.",
    f"incidents_current h {MIDDLE_JOIN}",
    columns(
        "id",
        "version",
        "state",
        "algorithm",
        "area",
        "corridor",
        "segment",
        "upstream_segment",
        "downstream_segment",
        Column("position", "float", "Share of the way between the two detectors, 0..1."),
        column("severity", of="severity_share"),
        "confidence",
        "estimated_start",
        "first_evidence",
        "last_evidence",
        "delay_veh_h",
        "queue_m",
        "window_end",
        "computed_at",
        *MIDDLE,
    ),
    ("first_evidence", "id"),
    newest_first=True,
    times=Times("h.first_evidence", "h.window_end", "h.state = 'cleared'"),
    filters=(
        AREA,
        Filter("state", "States.", choices=("suspected", "confirmed", "clearing", "cleared")),
        Filter("segment", "Road segments."),
        Filter("corridor", "Roads."),
        Filter("min_severity", _AT_LEAST_SHARE, "h.severity", "float", rule="at_least"),
    ),
    place="point",
)

ANOMALIES = Listing(
    "anomalies",
    "Unusual measurements of healthy sensors, the newest version of each.",
    "anomalies_current h",
    columns(
        "id",
        "version",
        "state",
        "kind",
        "area",
        "sensor_key",
        "sensor",
        Column("segment", "text", "Road segment it measures.", nullable=True),
        "measure",
        "score",
        column("value", of="measured"),
        "expected",
        "low",
        "high",
        "started_at",
        "last_at",
        "window_end",
        "computed_at",
        "lon",
        "lat",
    ),
    ("started_at", "id"),
    newest_first=True,
    times=Times("h.started_at", "h.window_end", "h.state = 'closed'"),
    filters=(
        AREA,
        KIND,
        Filter("state", "States.", choices=("open", "closed")),
        Filter("min_score", "Smallest score, 0..1.", "h.score", "float", rule="at_least"),
    ),
    place="point",
)

SENSOR_HEALTH = Listing(
    "sensor-health",
    "Changes of the sensors' health.",
    "(SELECT c.*, s.lon, s.lat FROM sensor_health c LEFT JOIN sensors s USING (sensor_key)) h",
    columns(
        _SENSOR_ID,
        "sensor_key",
        "kind",
        "area",
        "sensor",
        "health",
        "reason",
        "since",
        "before",
        "window_end",
        "computed_at",
        "lon",
        "lat",
    ),
    ("window_end", "sensor_key"),
    newest_first=True,
    times=Times("h.window_end"),
    filters=(AREA, KIND, Filter("sensor_key", "Sensors.", type="int")),
    place="point",
)

FORECASTS = Listing(
    "forecasts",
    "Forecasts of speed and flow, a row per segment and horizon.",
    "forecasts h",
    columns(
        "area",
        "segment",
        "made_at",
        "target",
        "horizon_min",
        "speed_kmh",
        "speed_low_kmh",
        "speed_high_kmh",
        Column("flow_veh_h", "float", "Expected flow [veh/h].", nullable=True),
        "flow_low_veh_h",
        "flow_high_veh_h",
        "computed_at",
    ),
    ("made_at", "segment", "horizon_min"),
    times=Times("h.made_at"),
    filters=(
        AREA,
        Filter("segment", "Road segments."),
        Filter("horizon_min", "Horizons [min].", type="int"),
    ),
    arrow=True,
)

_UNITS = {"speed": "km/h", "flow": "veh/h"}


def _errors(measure: str) -> tuple[Column, ...]:
    unit = _UNITS[measure]
    described = {
        "rmse": f"Root of the mean squared error [{unit}].",
        "mae": f"Mean absolute error [{unit}].",
        "bias": f"Mean error, forecast minus result [{unit}].",
        "coverage": "Share of the results inside the 80 % interval, 0..1.",
        "persistence_rmse": f"RMSE if the present had been forecast [{unit}].",
        "persistence_mae": f"MAE if the present had been forecast [{unit}].",
    }
    return (
        Column(f"{measure}_n", "int", "Forecasts that were held against a result."),
        *(Column(f"{measure}_{name}", "float", text, True) for name, text in described.items()),
    )


def _accuracy(by: str, keys: tuple[str, ...]) -> Listing:
    return Listing(
        "forecasts/accuracy",
        "How good the forecasts of each day were, beside forecasting no change.",
        f"forecast_accuracy_by_{by} h",
        columns(
            Column("day", "time", "Start of the day (UTC) on which the forecasts were made."),
            *(("area", "segment") if by == "segment" else ()),
            "horizon_min",
            *_errors("speed"),
            *_errors("flow"),
        ),
        ("day", *keys),
        times=Times("h.day", default_span_s=7 * 86_400),
        filters=(
            *((AREA, Filter("segment", "Road segments.")) if by == "segment" else ()),
            Filter("horizon_min", "Horizons [min].", type="int"),
        ),
        arrow=True,
    )


ACCURACY = {
    "horizon": _accuracy("horizon", ("horizon_min",)),
    "segment": _accuracy("segment", ("segment", "horizon_min")),
}
"""What the query parameter ``by`` chooses from."""
