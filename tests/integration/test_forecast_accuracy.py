"""How good forecasts were: the views equal what is worked out by hand, for any window size."""

from __future__ import annotations

import math

import msgspec
import psycopg
import pytest

from civicstream.events import TrafficForecast, TrafficResult
from civicstream.settings import WindowSettings
from sinks.admin.init import init_database
from tests.kit.sink_events import AT, MINUTE, forecast, forecast_row, result
from tests.kit.sink_rows import Loader, loader, settings_for

DAY = 86_400_000


def load(loaded: Loader, *events: TrafficForecast | TrafficResult) -> None:
    for event in events:
        topic = "forecasts" if isinstance(event, TrafficForecast) else "results.traffic"
        loaded.write(loaded.record(f"city.{topic}", msgspec.json.encode(event), []))


def known_week(loaded: Loader) -> None:
    """One forecast of two segments, one of which was out; at 15 min both came, at 30 min one."""
    load(
        loaded,
        forecast(
            forecast_row("s1", [50.0, 60.0], [900.0, 1000.0]),
            forecast_row("s2", [80.0, None], [500.0, 500.0]),
        ),
        result("s1", AT, 52.0, 950.0),
        result("s1", AT + 15 * MINUTE, 47.0, 700.0),
        result("s1", AT + 30 * MINUTE, 52.0, 1050.0),
        result("s2", AT + 15 * MINUTE, 84.0, 590.0),
    )


def test_every_forecast_whose_target_has_come_is_held_against_the_window_that_ends_there(
    database: str,
) -> None:
    with loader(database) as loaded:
        known_week(loaded)
        found = loaded.seen_by_reader(
            "SELECT segment, horizon_min, actual_speed_kmh, speed_error, speed_absolute_error, "
            "speed_inside, speed_persistence_error, flow_error, flow_inside, "
            "flow_persistence_error FROM forecast_accuracy ORDER BY 1, 2"
        )
    assert found == [
        ("s1", 15, 47.0, 3.0, 3.0, True, 5.0, 200.0, False, 250.0),
        ("s1", 30, 52.0, 8.0, 8.0, False, 0.0, -50.0, True, -100.0),
        ("s2", 15, 84.0, -4.0, 4.0, True, None, -90.0, True, None),
    ]


def test_the_summary_by_horizon_equals_the_figures_worked_out_by_hand(database: str) -> None:
    with loader(database) as loaded:
        known_week(loaded)
        found = loaded.seen_by_reader(
            "SELECT horizon_min, speed_n, speed_rmse, speed_mae, speed_bias, speed_coverage, "
            "speed_persistence_n, speed_persistence_rmse, speed_persistence_mae, flow_rmse, "
            "(extract(epoch FROM day) * 1000)::bigint "
            "FROM forecast_accuracy_by_horizon ORDER BY 1"
        )
    day = AT // DAY * DAY
    flow_rmse = math.sqrt((200**2 + 90**2) / 2)
    assert found == [
        (15, 2, math.sqrt((9 + 16) / 2), 3.5, -0.5, 1.0, 1, 5.0, 5.0, flow_rmse, day),
        (30, 1, 8.0, 8.0, 8.0, 0.0, 1, 0.0, 0.0, 50.0, day),
    ]


def test_the_summary_by_segment_keeps_segments_and_days_apart(database: str) -> None:
    with loader(database) as loaded:
        known_week(loaded)
        later = AT + 3 * DAY
        load(
            loaded,
            forecast(forecast_row("s1", [50.0, 50.0]), made_at=later),
            result("s1", later + 15 * MINUTE, 40.0, 700.0),
            forecast(forecast_row("s1", [50.0, 50.0]), made_at=later + MINUTE),
            result("s1", later + 16 * MINUTE, 70.0, 700.0),
        )
        query = (
            "SELECT area, segment, horizon_min, speed_n, speed_mae, speed_bias, speed_coverage "
            "FROM forecast_accuracy_by_segment WHERE horizon_min = 15 {} ORDER BY day, 2"
        )
        found = loaded.seen_by_reader(query.format(""))
        of_day = loaded.seen_by_reader(
            query.format(f"AND day = to_timestamp({later // DAY * DAY / 1000})")
        )
    assert found == [
        ("north", "s1", 15, 1, 3.0, 3.0, 1.0),
        ("north", "s2", 15, 1, 4.0, -4.0, 1.0),
        ("north", "s1", 15, 2, 15.0, -5.0, 0.0),
    ]
    assert of_day == found[2:]


def test_the_summary_does_not_hang_on_the_sessions_time_zone(postgres: str) -> None:
    # 2026-03-29 has 23 hours in Amsterdam and 24 in UTC: its last hour must not be counted twice.
    made_at = 1_774_828_740_000  # 2026-03-29 23:59 UTC
    with loader(postgres) as loaded:
        load(
            loaded,
            forecast(forecast_row("s1", [50.0, 50.0]), made_at=made_at - 20 * 60 * MINUTE),
            forecast(forecast_row("s1", [50.0, 50.0]), made_at=made_at),
            result("s1", made_at + 15 * MINUTE, 40.0, 700.0),
        )
    with psycopg.connect(postgres) as connection:
        connection.execute("SET timezone = 'Europe/Amsterdam'")
        found = connection.execute(
            "SELECT extract(epoch FROM day)::bigint, speed_n FROM forecast_accuracy_by_horizon"
        ).fetchall()
    assert found == [(made_at // DAY * 86_400, 1)]


@pytest.mark.parametrize("window_s", [300, 420])
def test_with_longer_windows_it_is_the_window_in_which_the_target_lies(
    postgres: str, window_s: int
) -> None:
    settings = settings_for(postgres)
    size = window_s * 1000
    made_at = AT // size * size
    target = made_at + 15 * MINUTE
    window_end = -(-target // size) * size  # 420 s does not divide 15 minutes
    with loader(postgres) as loaded:
        init_database(settings.model_copy(update={"windows": WindowSettings(size_s=window_s)}))
        load(
            loaded,
            forecast(forecast_row("s1", [50.0, 60.0]), made_at=made_at),
            result("s1", made_at, 55.0, 1.0, size),
            result("s1", window_end, 47.0, 1.0, size),
        )
        found = loaded.seen_by_reader(
            "SELECT horizon_min, speed_error, speed_persistence_error FROM forecast_accuracy"
        )
    assert found == [(15, 3.0, 8.0)]


def test_without_forecasts_the_views_are_empty(database: str) -> None:
    with loader(database) as loaded:
        load(loaded, result("s1", AT, 52.0, 950.0))
        for view in ("", "_by_horizon", "_by_segment"):
            assert loaded.seen_by_reader(f"SELECT * FROM forecast_accuracy{view}") == []
