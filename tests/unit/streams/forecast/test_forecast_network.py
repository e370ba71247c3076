"""Live forecasts of a road network: steps in event time, a record per area, repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from civicstream.errors import ConfigurationError
from civicstream.events import TrafficForecast
from streams.forecast.network_forecaster import NetworkForecaster
from tests.kit.forecast_making import Floats, line_network, window

START = 1_772_323_200_000  # midnight UTC


def speeds(minute: float, segments: int) -> tuple[Floats, Floats]:
    """Return speeds and flows that fall and rise smoothly over hours."""
    wave = np.sin(minute / 90 + np.arange(segments) / 10)
    return 70 + 20 * wave, 2000 - 800 * wave


def drive(
    forecaster: NetworkForecaster, length_s: int, minutes: int
) -> list[list[TrafficForecast]]:
    """Give windows of ``length_s`` over some minutes; return the forecasts after each."""
    made = []
    for second in range(0, minutes * 60, length_s):
        speed, flow = speeds(second / 60, len(forecaster.network))
        now = window(START + second * 1000, length_s * 1000, speed, flow)
        made.append(forecaster.step(now, now_ms=START))
    return made


def test_every_window_brings_a_forecast_per_area_with_a_row_per_segment() -> None:
    network = line_network(6, areas=2)
    made = drive(NetworkForecaster(network, 60), 60, 30)
    assert len(made) == 30
    for minute, forecasts in enumerate(made, 1):
        assert [f.area for f in forecasts] == ["a0", "a1"]
        assert [[row.segment for row in f.segments] for f in forecasts] == [
            ["s0", "s1", "s2"],
            ["s3", "s4", "s5"],
        ]
        assert all(f.made_at == START + minute * 60_000 for f in forecasts)
        assert all(f.horizons_min == [15, 30, 45, 60] for f in forecasts)
    row = made[-1][0].segments[0]
    for low, mean, high in zip(row.speed_low_kmh, row.speed_kmh, row.speed_high_kmh, strict=True):
        assert low is not None
        assert mean is not None
        assert high is not None
        assert 0 <= low <= mean <= high
    assert row.flow_veh_h[0] is not None
    assert row.flow_veh_h[0] > 500


def test_the_length_of_the_windows_does_not_change_the_forecasts_at_the_end_of_a_step() -> None:
    def last(length_s: int) -> Floats:
        forecasts = drive(NetworkForecaster(line_network(4), length_s), length_s, 200)[-1]
        return np.array([row.speed_kmh for row in forecasts[0].segments], np.float64)

    # Windows of another length sample the same course at other moments.
    np.testing.assert_allclose(last(60), last(300), rtol=0.05)
    np.testing.assert_allclose(last(60), last(20), rtol=0.05)


def test_between_the_ends_of_steps_the_forecast_follows_the_newest_windows() -> None:
    forecaster = NetworkForecaster(line_network(3), 60)
    still = np.full(3, 80.0), np.full(3, 1500.0)
    for minute in range(62):
        forecaster.step(window(START + minute * 60_000, 60_000, *still), START)
    slow = np.full(3, 30.0), np.full(3, 1500.0)
    forecasts = forecaster.step(window(START + 62 * 60_000, 60_000, *slow), START)
    speed = forecasts[0].segments[0].speed_kmh[0]
    assert speed is not None
    assert 30 < speed < 79


def test_a_segment_without_data_is_null_and_the_others_are_not() -> None:
    forecaster = NetworkForecaster(line_network(3), 60)
    for minute in range(30):
        speed, flow = speeds(minute, 3)
        speed[1] = flow[1] = np.nan
        forecasts = forecaster.step(window(START + minute * 60_000, 60_000, speed, flow), START)
    rows = forecasts[0].segments
    assert rows[1].speed_kmh == [None] * 4
    assert rows[1].flow_high_veh_h == [None] * 4
    assert None not in rows[0].speed_kmh
    assert None not in rows[2].flow_low_veh_h


def test_a_window_given_again_returns_the_same_forecast_and_changes_nothing() -> None:
    once, twice = (NetworkForecaster(line_network(5), 60) for _ in range(2))
    for minute in range(25):
        now = window(START + minute * 60_000, 60_000, *speeds(minute, 5))
        first = once.step(now, START)
        assert twice.step(now, START) == first
        assert twice.step(now, START) == first
    assert once.dump_recent() == twice.dump_recent()


def test_an_old_window_returns_nothing_and_changes_nothing() -> None:
    forecaster = NetworkForecaster(line_network(5), 60)
    drive(forecaster, 60, 20)
    before = forecaster.dump_recent()
    assert forecaster.step(window(START, 60_000, *speeds(0, 5)), START) == []
    assert forecaster.dump_recent() == before


def test_a_night_without_windows_leaves_no_forecast_until_there_is_data_again() -> None:
    forecaster = NetworkForecaster(line_network(2), 60)
    drive(forecaster, 60, 60)
    later = START + 10 * 3_600_000
    nothing = np.full(2, np.nan)
    empty = forecaster.step(window(later, 60_000, nothing, nothing), START)
    assert empty[0].segments[0].speed_kmh == [None] * 4
    back = forecaster.step(window(later + 60_000, 60_000, *speeds(0, 2)), START)
    assert None not in back[0].segments[0].speed_kmh


def test_the_mean_speed_of_a_step_weighs_windows_by_their_vehicles() -> None:
    forecaster = NetworkForecaster(line_network(1), 150)
    for index, (speed, flow) in enumerate([(60.0, 3000.0), (30.0, 1000.0)]):
        now = window(START + index * 150_000, 150_000, np.array([speed]), np.array([flow]))
        forecaster.step(now, START)
    newest = forecaster.measures["speed_kmh"].recent.lags[0, 0]
    assert newest == pytest.approx(4000 / (3000 / 60 + 1000 / 30))
    assert forecaster.measures["flow_veh_h"].recent.lags[0, 0] == pytest.approx(2000)


def test_windows_longer_than_a_quarter_of_an_hour_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"at most 900 s, not 1800 s; shorten"):
        NetworkForecaster(line_network(1), 1800)


def test_a_city_without_segments_has_no_forecasts() -> None:
    forecaster = NetworkForecaster(line_network(0, areas=0), 60)
    assert drive(forecaster, 60, 10) == [[]] * 10
