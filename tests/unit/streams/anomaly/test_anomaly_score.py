"""What one sensor's anomaly score says: high and once for what is rare in that sensor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.anomaly import AnomalyDetector
from tests.kit.anomaly_series import DAY_MS, HOUR_MS, ROWS_A_DAY, feed, row, speeds, times

ALARM = 0.8


def test_an_incident_scores_high_at_its_first_readings() -> None:
    at = times(8)
    values = speeds(at)
    start = row(7, 12.5)
    values[start : start + 12] = 20
    scores = feed(AnomalyDetector(1), at, values).score
    assert scores[start : start + 2].max() > 0.9
    assert scores[ROWS_A_DAY:start].max() < scores[start : start + 2].max()


def test_an_incident_is_told_once_and_not_for_all_its_hours() -> None:
    at = times(8)
    values = speeds(at)
    start = row(7, 10)
    values[start : start + 24] = 25
    scores = feed(AnomalyDetector(1), at, values).score
    assert 1 <= (scores[start : start + 24] > ALARM).sum() <= 2


def test_a_second_incident_a_day_later_is_told_again() -> None:
    at = times(10)
    values = speeds(at)
    first, second = row(8, 12), row(9, 12)
    values[first : first + 6] = 25
    values[second : second + 6] = 15
    scores = feed(AnomalyDetector(1), at, values).score
    assert scores[first : first + 6].max() > ALARM
    assert scores[second : second + 6].max() > ALARM


def test_the_rush_hour_of_every_day_is_no_news_once_it_is_known() -> None:
    at = times(14)
    scores = feed(AnomalyDetector(1), at, speeds(at, dip=50)).score
    rush = (at % DAY_MS > 6 * HOUR_MS) & (at % DAY_MS < 10 * HOUR_MS)
    assert scores[rush & (np.arange(len(at)) > 7 * ROWS_A_DAY)].max() < ALARM


def test_a_rush_hours_speed_at_night_is_news() -> None:
    at = times(15)
    values = speeds(at, dip=50)
    night = row(14, 2.5)
    values[night : night + 12] = 42
    scores = feed(AnomalyDetector(1), at, values).score
    assert scores[night : night + 12].max() > ALARM
    assert values[: 14 * ROWS_A_DAY].min() < 42, "the value itself must be an ordinary one"


def test_a_level_shift_becomes_the_usual_within_hours() -> None:
    at = times(9)
    values = speeds(at, dip=0)
    shift = 6 * ROWS_A_DAY
    values[shift:] -= 40
    found = feed(AnomalyDetector(1), at, values)
    assert found.score[shift : shift + 3].max() > ALARM
    assert found.score[shift + 12 :].max() < ALARM
    day_later = slice(shift + ROWS_A_DAY, None)
    assert np.abs(found.expected[day_later] - 50).mean() < 3


@pytest.mark.parametrize("seed", range(5))
def test_the_first_day_of_a_sensor_raises_no_alarm(seed: int) -> None:
    at = times(1)
    scores = feed(AnomalyDetector(1), at, speeds(at, seed, dip=60)).score
    assert scores[: ROWS_A_DAY // 2].max() == 0
    assert scores.max() < ALARM


def test_about_98_of_100_readings_lie_in_the_interval() -> None:
    at = times(14)
    values = speeds(at, dip=30)
    found = feed(AnomalyDetector(1), at, values)
    later = np.arange(len(at)) > 3 * ROWS_A_DAY
    inside = (values >= found.low) & (values <= found.high)
    assert 0.965 < inside[later].mean() < 0.99
    assert np.all(found.low < found.expected)
    assert np.all(found.expected < found.high)


def test_gaps_and_irregular_intervals_are_no_anomaly() -> None:
    at = times(14)
    rng = np.random.default_rng(3)
    kept = rng.random(len(at)) < 0.6
    kept[5 * ROWS_A_DAY : 8 * ROWS_A_DAY] = False
    at = at[kept] + rng.integers(-60_000, 60_000, kept.sum())
    scores = feed(AnomalyDetector(1), at, speeds(at)).score
    assert (scores > 0.9).sum() == 0


def test_a_missing_value_has_no_score_and_changes_nothing() -> None:
    at = times(3)
    values = speeds(at)
    with_hole = AnomalyDetector(1)
    feed(with_hole, at[:300], values[:300])
    before = {name: array.copy() for name, array in with_hole.arrays().items()}
    missing = feed(with_hole, at[300:301], np.array([np.nan]))
    assert np.isnan([missing.score, missing.expected, missing.low, missing.high]).all()
    for name, array in with_hole.arrays().items():
        np.testing.assert_array_equal(array, before[name], name)


def test_a_sensor_that_never_moved_survives_its_first_move() -> None:
    at = times(4)
    values = np.zeros(len(at))
    values[row(3, 3)] = 1.0
    found = feed(AnomalyDetector(1), at, values)
    assert found.score[row(3, 3)] > 0.6
    assert found.score[: row(3, 3)].max() == 0
    assert np.isfinite(found.high).all()


def test_a_clock_set_back_does_not_stop_the_scores() -> None:
    at = times(8)
    values = speeds(at, dip=0)
    future = 3 * ROWS_A_DAY
    at[future] += 3650 * DAY_MS
    values[7 * ROWS_A_DAY] = 10
    assert feed(AnomalyDetector(1), at, values).score[7 * ROWS_A_DAY] > ALARM


@settings(max_examples=15)
@given(st.lists(st.floats(-1e12, 1e12) | st.just(float("nan")), min_size=1, max_size=120))
def test_whatever_the_readings_scores_stay_within_0_and_1(values: list[float]) -> None:
    read = np.array(values)
    at = times(1)[: len(read)] * 2 - times(1)[0]
    found = feed(AnomalyDetector(1), at, read)
    measured = ~np.isnan(read)
    assert np.isnan(found.score[~measured]).all()
    assert ((found.score[measured] >= 0) & (found.score[measured] < 1)).all()
    assert np.isfinite(found.low[measured]).all()
