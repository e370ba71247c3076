"""What an unusual state may teach: one failure must not make the next one ordinary."""

from __future__ import annotations

import numpy as np
import pytest

from streams.anomaly import AnomalyDetector
from streams.anomaly.expectation import Readings
from streams.anomaly.state import empty
from streams.anomaly.surprise import _cumulated
from tests.kit.anomaly_series import feed, row, speeds, times

ALARM = 0.8


def test_ten_hours_of_failure_raise_the_tails_little_more_than_one_hour() -> None:
    raised = []
    for readings in (0, 6, 60):
        at = times(7)
        values = speeds(at, dip=0)
        failure = row(4, 2)
        values[failure : failure + readings] = 0
        detector = AnomalyDetector(1)
        scores = feed(detector, at, values).score
        assert not readings or scores[failure : failure + 3].max() > ALARM
        raised.append(detector.arrays()["tail_start"][0].copy())
    never, an_hour, ten_hours = raised
    usual = 2
    assert never[usual] < an_hour[usual]
    assert ten_hours[usual] - never[usual] < 4 * (an_hour[usual] - never[usual])


def test_one_impossible_reading_hardly_moves_the_tails() -> None:
    at = times(8)
    clean, spoilt = speeds(at), speeds(at)
    spoilt[row(5, 3)] = 1e6
    tails = []
    for values in (clean, spoilt):
        detector = AnomalyDetector(1)
        feed(detector, at, values)
        tails.append({name: detector.arrays()[name].copy() for name in ("tail_mean", "spread")})
    assert tails[1]["tail_mean"].max() < tails[0]["tail_mean"].max() + 1.5
    np.testing.assert_allclose(tails[1]["spread"], tails[0]["spread"], rtol=0.05)


def cumulated(errors: list[float], *, passed: int = 1) -> list[float]:
    state, rows, found = empty(1), np.zeros(1, np.intp), []
    since = np.full(1, 300_000.0)
    now = np.zeros(1, np.int64)
    for error in errors:
        readings = Readings(
            rows=rows,
            at_ms=now,
            value=np.zeros(1),
            seen=np.ones(1),
            first_ms=now,
            since_ms=since * passed,
            interval_ms=since,
        )
        found.append(float(_cumulated(state, readings, np.array([error]))[0]))
    return found


def test_errors_of_one_sign_add_up_and_those_of_changing_sign_do_not() -> None:
    assert max(cumulated([2.5, -2.5] * 10)) < 1
    rising = cumulated([2.5] * 6)
    assert rising == sorted(rising)
    assert rising[-1] == pytest.approx(6 * (2.5 / 1.25 - 1) / 2)
    assert cumulated([-2.5] * 6) == pytest.approx(rising)


def test_cumulated_errors_fade_in_a_gap() -> None:
    assert cumulated([4.0, 4.0], passed=50)[-1] < cumulated([4.0, 4.0])[-1]
