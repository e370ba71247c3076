"""A rate is held when what is not yet stored stops growing, whatever the starting lag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.backlog import Hold, Sample, growth_s, lag_s

RATE = 5_000.0


def lags(
    stored_per_s: float, *, late_by_s: float, seconds: int = 30, before: int = 0
) -> list[float]:
    samples = [
        Sample(1_000_000 + t * 1000, before + round(stored_per_s * max(0.0, t - late_by_s)))
        for t in range(30)
    ]
    return lag_s(samples, rate=RATE, started_at=1_000_000, before=before)


@given(late_by_s=st.floats(0, 8), before=st.integers(0, 10**7))
def test_a_steady_delay_is_held_however_long(late_by_s: float, before: int) -> None:
    found = lags(RATE, late_by_s=late_by_s, before=before)
    assert found[-1] == pytest.approx(late_by_s, abs=0.001)
    hold = Hold(RATE, RATE, {"sink": found})
    assert hold.held


@given(share=st.floats(0.1, 0.95))
def test_a_stage_slower_than_the_rate_is_not_held(share: float) -> None:
    found = lags(RATE * share, late_by_s=0.3)
    assert growth_s(found) == pytest.approx(10 * (1 - share), rel=0.2)
    assert not Hold(RATE, RATE, {"worker": lags(RATE, late_by_s=0.3), "sink": found}).held


def test_a_simulator_that_cannot_publish_the_rate_does_not_hold_it() -> None:
    found = lags(RATE, late_by_s=0.3)
    assert not Hold(RATE, RATE * 0.97, {"sink": found}).held
    assert Hold(RATE, RATE * 0.99, {"sink": found}).held


def test_without_samples_nothing_is_held() -> None:
    assert not Hold(RATE, RATE, {"sink": []}).held
    assert Hold(RATE, RATE, {"sink": []}).row()["held"] == "no"


def test_falling_behind_and_catching_up_again_is_held() -> None:
    saw = [0.2 + 1.5 * (t % 7) / 7 for t in range(15)]
    assert Hold(RATE, RATE, {"worker": saw}).held
    assert not Hold(RATE, RATE, {"worker": [lag + 0.1 * t for t, lag in enumerate(saw)]}).held
