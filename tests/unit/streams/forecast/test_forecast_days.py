"""The usual course of the day comes from the past days that resemble the present one."""

from __future__ import annotations

import numpy as np

from streams.forecast.days import DayHistory
from tests.kit.forecast_making import DAY, QUARTERS


def fill(history: DayHistory, days: list[np.ndarray], until: int) -> None:
    """Run through days [96, n] up to step ``until``, comparing as a forecaster does."""
    values = np.concatenate(days).astype(np.float32)
    scale = np.full(values.shape[1], 100, np.float32)
    for step in range(until):
        history.compare(step, values[step], scale)
        history.add(step, values[step])


def test_on_a_weekend_the_last_weekend_counts_and_not_yesterday() -> None:
    time = np.arange(DAY)
    workday = np.repeat(100 - 50 * np.exp(-(((time - 32) / 4) ** 2))[:, None], 4, axis=1)
    weekend = np.full((DAY, 4), 100.0)
    week = [workday] * 5 + [weekend] * 2
    history = DayHistory(4, QUARTERS)
    now = 12 * DAY + 30  # Saturday of the second week, where the peak would be
    fill(history, week * 2, now)
    assert history.weights()[6] > 0.4
    usual = history.usual(now, np.full(4, np.nan, np.float32))
    np.testing.assert_allclose(usual, 100, atol=2)


def test_the_usual_change_over_the_leads_is_that_of_the_past_days() -> None:
    course = np.repeat((60 + 40 * np.sin(np.arange(DAY) * 2 * np.pi / DAY))[:, None], 3, axis=1)
    history = DayHistory(3, QUARTERS)
    now = 3 * DAY + 17
    fill(history, [course] * 4, now)
    usual = history.usual(now, np.full(3, np.nan, np.float32))
    expected = course[17:22]
    np.testing.assert_allclose(usual, expected, atol=1)


def test_a_series_without_a_past_has_its_level_as_usual() -> None:
    course = np.full((DAY, 2), 80.0)
    course[:, 1] = np.nan
    history = DayHistory(2, QUARTERS)
    fill(history, [course] * 2, DAY + 13)
    usual = history.usual(DAY + 13, np.array([7, 33], np.float32))
    np.testing.assert_allclose(usual[:, 0], 80)
    np.testing.assert_allclose(usual[:, 1], 33)


def test_days_older_than_the_memory_are_forgotten_also_after_a_long_silence() -> None:
    history = DayHistory(1, QUARTERS)
    fill(history, [np.full((DAY, 1), 50.0)] * 2, 2 * DAY)
    later = (QUARTERS.days + 10) * DAY
    history.compare(later, np.array([50], np.float32), np.array([100], np.float32))
    history.add(later, np.array([50], np.float32))
    assert history.weights().sum() == 0
    assert np.isfinite(history.slots).sum() == 1
