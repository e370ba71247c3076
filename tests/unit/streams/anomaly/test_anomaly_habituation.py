"""What a series has done before surprises less, and again after quiet weeks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.anomaly.habituation import LEVELS, habituated
from streams.anomaly.state import Arrays, empty

STEP_MS = 300_000.0
A_DAY = 288


def told(state: Arrays, surprise: float, *, after: int = 1) -> float:
    """Return what is left of a surprise after so many quiet readings of one series."""
    rows, since = np.zeros(1, np.intp), np.full(1, STEP_MS)
    for _ in range(after - 1):
        habituated(state, rows, since, np.zeros(1))
    return float(habituated(state, rows, since, np.full(1, surprise))[0])


def test_each_alarm_makes_the_next_as_high_less_surprising() -> None:
    state = empty(1)
    found = [told(state, 10.0, after=A_DAY) for _ in range(6)]
    assert all(later < earlier for earlier, later in pairwise(found))
    assert 9.5 < found[0] < 11.5


def test_low_alarms_leave_a_high_one_as_surprising_as_it_was() -> None:
    often, never = empty(1), empty(1)
    for _ in range(10):
        told(often, 4.0, after=A_DAY)
    assert told(often, 20.0) == told(never, 20.0, after=10 * A_DAY + 1)


def test_quiet_weeks_make_an_alarm_as_surprising_as_before() -> None:
    soon, late = empty(1), empty(1)
    for state in (soon, late):
        for _ in range(4):
            told(state, 12.0, after=A_DAY)
    assert told(soon, 12.0, after=A_DAY) + 1 < told(late, 12.0, after=60 * A_DAY)
    assert told(late, 30.0) > 30.0, "never so high before, in many readings"


def test_quiet_readings_are_never_surprising() -> None:
    state = empty(1)
    assert told(state, 0.0, after=30 * A_DAY) == 0.0


def test_series_are_habituated_each_by_its_own_alarms() -> None:
    state = empty(2)
    rows, since = np.arange(2), np.full(2, STEP_MS)
    for _ in range(5):
        habituated(state, rows, since, np.array([15.0, 0.0]))
    found = habituated(state, rows, since, np.array([15.0, 15.0]))
    assert found[0] < found[1]


@given(st.lists(st.floats(0, 500), min_size=1, max_size=40))
def test_habit_takes_at_most_a_third_and_leaves_the_state_finite(surprises: list[float]) -> None:
    state = empty(1)
    for surprise in surprises:
        left = told(state, surprise)
        assert left >= surprise * 2 / 3 * (1 - 1e-12)
        assert (left > 0) == (surprise > 0) or surprise < 1e-300
    assert np.isfinite(state["alarms"]).all()
    assert (state["alarms"] <= len(surprises)).all()
    assert (np.diff(state["alarms"][0]) <= 0).all(), f"more alarms at least {LEVELS[1]} than below"
