"""The benchmark's score on cases worked out by hand from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.nab_scoring import JudgedFile, judge_file, normalised, score_at, sweep

START = np.datetime64("2024-01-01T00:00", "ms")


def hours(n: int) -> np.ndarray:
    return START + np.arange(n) * np.timedelta64(1, "h")


def judged(n: int, *windows: tuple[int, int]) -> JudgedFile:
    times = hours(n)
    return judge_file("file", times, [(times[a], times[b]) for a, b in windows])


def detections(n: int, *rows: int) -> np.ndarray:
    scores = np.zeros(n)
    scores[list(rows)] = 1.0
    return scores


def scaled_sigmoid(y: float) -> float:
    return 2 / (1 + math.exp(5 * y)) - 1


def test_a_detection_at_the_windows_first_row_earns_one() -> None:
    file = judged(100, (50, 59))
    assert score_at(file, detections(100, 50), 0.5) == pytest.approx(1)
    assert normalised(1, 1) == 100


def test_a_missed_window_costs_one_and_normalises_to_zero() -> None:
    file = judged(100, (50, 59))
    assert score_at(file, detections(100), 0.5) == -1
    assert normalised(-1, 1) == 0


def test_a_later_detection_earns_by_its_distance_to_the_right_edge() -> None:
    # Row 54 of a window of rows 50..59: five rows and itself to the right of ten.
    file = judged(100, (50, 59))
    expected = scaled_sigmoid(-0.6) / scaled_sigmoid(-1)
    assert score_at(file, detections(100, 54), 0.5) == pytest.approx(expected)


def test_only_the_earliest_detection_in_a_window_counts() -> None:
    file = judged(100, (50, 59))
    early, late = detections(100, 52), detections(100, 52, 55, 58)
    assert score_at(file, early, 0.5) == score_at(file, late, 0.5)


def test_a_false_positive_before_any_window_costs_its_full_weight() -> None:
    file = judged(100, (50, 59))
    assert score_at(file, detections(100, 30, 50), 0.5) == pytest.approx(1 - 0.11)


def test_a_false_positive_soon_after_a_window_costs_little() -> None:
    # Three rows after a window of ten: a third of (its width - 1) behind it.
    file = judged(100, (50, 59))
    cost = 0.11 * scaled_sigmoid(3 / 9)
    assert cost == pytest.approx(-0.0750, abs=1e-4)
    assert score_at(file, detections(100, 50, 62), 0.5) == pytest.approx(1 + cost)


def test_a_false_positive_more_than_three_windows_later_costs_its_full_weight() -> None:
    file = judged(100, (50, 59))
    assert score_at(file, detections(100, 50, 95), 0.5) == pytest.approx(1 - 0.11)


def test_the_first_fifteen_per_cent_are_not_judged() -> None:
    file = judged(100, (50, 59))
    assert score_at(file, detections(100, *range(15), 50), 0.5) == pytest.approx(1)
    assert score_at(file, detections(100, 15, 50), 0.5) == pytest.approx(0.89)


def test_not_even_a_window_in_the_probation_is_judged_there() -> None:
    file = judged(100, (10, 19))
    late = score_at(file, detections(100, 15), 0.5)
    assert score_at(file, detections(100, 12, 15), 0.5) == late
    assert score_at(file, detections(100, 12), 0.5) == -1


def test_the_probation_is_never_longer_than_750_rows() -> None:
    file = judged(20_000, (10_000, 10_100))
    assert np.flatnonzero(file.judged)[0] == 750


def test_a_threshold_detects_the_scores_that_equal_it() -> None:
    file = judged(100, (50, 59))
    assert score_at(file, detections(100, 50), 1.0) == pytest.approx(1)


def test_rows_without_a_score_are_no_detections() -> None:
    file = judged(100, (50, 59))
    scores = np.full(100, np.nan)
    assert score_at(file, scores, 0.0) == -1
    assert sweep([file], [scores]).score == 0


def test_the_sweep_finds_one_threshold_for_all_files() -> None:
    # 0.6 detects both windows for one false positive; 0.9 misses the second window.
    a, b = judged(100, (50, 59)), judged(100, (40, 49))
    scores_a, scores_b = 0.9 * detections(100, 50), 0.6 * detections(100, 40, 20)
    found = sweep([a, b], [scores_a, scores_b])
    assert found.threshold == 0.6
    assert found.raw == pytest.approx((1, 0.89))
    assert found.by_file == pytest.approx([100, 94.5])
    assert found.score == pytest.approx(97.25)


def test_a_window_no_threshold_is_worth_is_left() -> None:
    # Thirty false alarms come before the window's own score: 3.3 lost for 2 won.
    file = judged(100, (60, 69))
    scores = 0.9 * detections(100, *range(20, 50)) + 0.5 * detections(100, 60)
    assert sweep([file], [scores]).threshold == math.inf
    assert sweep([file], [scores]).score == 0


def test_a_window_without_rows_is_refused() -> None:
    times = hours(10)
    with pytest.raises(ValueError, match="holds no row; correct the labels"):
        judge_file("gap.csv", times, [(times[-1] + 1, times[-1] + 2)])


@given(st.integers(0, 2**32 - 1))
def test_no_threshold_does_better_than_the_one_the_sweep_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    files = [judged(120, (30, 40), (70, 90)), judged(80, (20, 50))]
    scores = [np.round(rng.random(n) ** 8, 2) for n in (120, 80)]
    scores[0][rng.integers(0, 120, 5)] = np.nan
    best = sweep(files, scores)
    every = np.unique(np.concatenate(scores))
    totals = [
        sum(score_at(f, s, t) for f, s in zip(files, scores, strict=True))
        for t in [*every[~np.isnan(every)], np.inf]
    ]
    assert sum(best.raw) == pytest.approx(max(totals))
