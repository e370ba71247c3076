"""Series with a daily course, and road networks in a line, for tests of the forecasts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from civicstream.city import Area, City, Segment
from streams.forecast.series import SeriesForecast, SeriesForecaster
from streams.forecast.settings import ForecastSettings
from streams.windows.network import NetworkWindow, RoadNetwork

Floats = NDArray[np.float64]

DAY = 96
QUARTERS = ForecastSettings(step_s=900, leads=(1, 2, 3, 4))
"""Steps of a quarter of an hour, which need a third of the time of five minutes."""
LINE = ((0.0, 0.0), (0.01, 0.0))


def traffic(rows: int, sensors: int, *, seed: int = 1, noise: float = 1.0) -> Floats:
    """Return speeds [rows, sensors] with a slow morning peak that differs from day to day."""
    random = np.random.default_rng(seed)
    time = np.arange(rows) % DAY
    day = np.arange(rows) // DAY
    start = 28 + random.normal(0, 1, day.max() + 1)[day]
    depth = 0.5 + random.uniform(-0.1, 0.1, day.max() + 1)[day]
    peak = depth * np.exp(-(((time - start) / 6) ** 2))
    strength = random.uniform(0.5, 1, sensors)
    free = random.uniform(90, 110, sensors)
    return free * (1 - peak[:, None] * strength) + random.normal(0, noise, (rows, sensors))


def run(
    values: Floats, *, settings: ForecastSettings | None = None
) -> tuple[SeriesForecaster, list[SeriesForecast]]:
    """Return a forecaster that took in all rows, and the forecast it made at each."""
    forecaster = SeriesForecaster(values.shape[1], settings or QUARTERS)
    made = []
    for step, row in enumerate(values):
        forecaster.observe(step, row)
        made.append(forecaster.forecast())
    return forecaster, made


def line_network(segments: int, areas: int = 1) -> RoadNetwork:
    """Return a road of segments in a row, spread over areas."""
    parts = tuple(
        Segment(
            id=f"s{i}",
            area=f"a{i * areas // segments}",
            corridor="c",
            position=i,
            road_class="freeway",
            lanes=3,
            length_m=500.0,
            free_flow_kmh=100.0,
            line=LINE,
            downstream=(f"s{i + 1}",) if i + 1 < segments else (),
        )
        for i in range(segments)
    )
    return RoadNetwork(
        City(tuple(Area(f"a{i}", f"Area {i}", (*LINE, LINE[0])) for i in range(areas)), parts)
    )


def window(start_ms: int, length_ms: int, speed: Floats, flow: Floats) -> NetworkWindow:
    """Return a window in which every measure but speed and flow is unknown."""
    unknown = np.full_like(speed, np.nan)
    seen = (~np.isnan(speed)).astype(np.float64)
    return NetworkWindow(
        start=start_ms,
        end=start_ms + length_ms,
        flow_veh_h=flow,
        speed_kmh=speed,
        occupancy=unknown,
        density_veh_km_lane=unknown,
        coverage=seen,
    )
