"""Events of traffic intelligence for the sink's tests: valid ones, to change a field or two of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from civicstream.events import (
    Alert,
    Anomaly,
    ForecastRow,
    FrameGap,
    Incident,
    SensorHealth,
    TrafficForecast,
    TrafficResult,
    TrafficRow,
)

AT = 1_780_000_020_000
"""A full minute, in the middle of a UTC day."""

MINUTE = 60_000

T = TypeVar("T", bound=msgspec.Struct)


def example(event: T) -> Callable[..., T]:
    """Return a function that makes such an event, with the fields that it is given changed."""

    def changed(**changes: Any) -> T:
        return msgspec.structs.replace(event, **changes)

    return changed


incident = example(
    Incident(
        id="i1",
        version=1,
        state="suspected",
        algorithm="test",
        area="north",
        corridor="A1",
        segment="s2",
        upstream_segment="s2",
        downstream_segment="s3",
        position=0.4,
        severity=0.5,
        confidence=0.6,
        estimated_start=AT - 3 * MINUTE,
        first_evidence=AT - MINUTE,
        last_evidence=AT,
        delay_veh_h=1.5,
        queue_m=300.0,
        window_end=AT,
        computed_at=AT + 30_000,
    )
)

health = example(
    SensorHealth(
        sensor_key=-7,
        kind="noise",
        area="north",
        sensor="q1",
        health="stuck",
        reason="LAeq 61.5 for 40 readings; its neighbours varied by 9",
        since=AT - 40 * MINUTE,
        before="ok",
        window_end=AT,
        computed_at=AT + 30_000,
    )
)

anomaly = example(
    Anomaly(
        id="noise/north/-7/LAeq/1",
        version=1,
        state="open",
        kind="noise",
        area="north",
        sensor_key=-7,
        sensor="q1",
        measure="LAeq",
        score=0.99,
        value=99.0,
        expected=60.0,
        low=50.0,
        high=70.0,
        started_at=AT - MINUTE,
        last_at=AT,
        window_end=AT,
        computed_at=AT + 30_000,
    )
)

alert = example(
    Alert(
        id="l1",
        version=1,
        state="active",
        change="raised",
        rule="queue",
        key="queue/s2",
        severity="severe",
        area="north",
        subject="segment/s2",
        headline="Queue on Long Road",
        started_at=AT - MINUTE,
        updated_at=AT,
        computed_at=AT + 30_000,
        value=8.5,
        threshold=15.0,
        lon=13.4,
        lat=52.5,
    )
)

gap = example(
    FrameGap(
        gateway="gateway-1",
        epoch=AT,
        topic="city.frames.noise",
        partition=2,
        first=17,
        missing=3,
        at=AT + 1_000,
    )
)


def forecast(
    *rows: ForecastRow, made_at: int = AT, horizons_min: tuple[int, ...] = (15, 30)
) -> TrafficForecast:
    return TrafficForecast("north", made_at, list(horizons_min), made_at + 30_000, list(rows))


def forecast_row(
    segment: str, speed: list[float | None], flow: list[float | None] | None = None
) -> ForecastRow:
    """Return a row whose intervals reach 5 km/h and 100 veh/h to either side."""
    flow = flow or [None] * len(speed)
    return ForecastRow(
        segment,
        *(_moved(speed, by) for by in (0, -5, 5)),
        *(_moved(flow, by) for by in (0, -100, 100)),
    )


def _moved(values: list[float | None], by: float) -> list[float | None]:
    return [None if value is None else value + by for value in values]


def result(
    segment: str, window_end: int, speed: float | None, flow: float, window_ms: int = MINUTE
) -> TrafficResult:
    """Return the final result of one segment and window."""
    row = TrafficRow(
        segment=segment,
        readings=3,
        vehicles=5.0,
        flow_veh_h=flow,
        time_mean_speed_kmh=speed,
        space_mean_speed_kmh=speed,
        p85_speed_kmh=None,
        occupancy=0.1,
        density_veh_km_lane=None,
        level_of_service="C",
        travel_time_index=1.1,
        coverage=1.0,
    )
    return TrafficResult(
        "north", window_end - window_ms, window_end, "final", window_end + 30_000, [row]
    )
