"""Many series side by side: each by its own past, in little memory, and storable."""

from __future__ import annotations

import time

import numpy as np
import pytest

from streams.anomaly import AnomalyDetector
from streams.anomaly.state import FIELDS
from tests.kit.anomaly_series import ROWS_A_DAY, feed, speeds, times


def _many(series: int, days: float) -> tuple[np.ndarray, np.ndarray]:
    at = times(days)
    return at, np.array([speeds(at, seed) for seed in range(series)])


def test_series_scored_together_score_as_each_alone() -> None:
    at, values = _many(4, 2.5)
    values[2, 300:306] = 15
    together = AnomalyDetector(4)
    rows = np.array([2, 0, 3, 1], np.intp)
    found = np.array(
        [together.update(rows, np.full(4, t), values[rows, i]).score for i, t in enumerate(at)]
    )
    for column, row in enumerate(rows):
        alone = feed(AnomalyDetector(1), at, values[row]).score
        np.testing.assert_array_equal(found[:, column], alone)
    assert found[300:306, 0].max() > 0.8


def test_a_series_that_does_not_report_keeps_its_state() -> None:
    at, values = _many(2, 1)
    detector = AnomalyDetector(2)
    for i, t in enumerate(at):
        detector.update(np.arange(2), np.full(2, t), values[:, i])
    before = {name: array[1].copy() for name, array in detector.arrays().items()}
    detector.update(np.array([0], np.intp), at[-1:] + 300_000, np.array([20.0]))
    for name, array in detector.arrays().items():
        np.testing.assert_array_equal(array[1], before[name], name)


def test_a_restored_detector_goes_on_as_if_it_had_never_stopped() -> None:
    at, values = _many(1, 3)
    whole = feed(AnomalyDetector(1), at, values[0]).score
    detector = AnomalyDetector(1)
    half = len(at) // 2
    first = feed(detector, at[:half], values[0, :half]).score
    stored = {name: array.copy() for name, array in detector.arrays().items()}
    restored = AnomalyDetector.from_arrays(stored)
    second = feed(restored, at[half:], values[0, half:]).score
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    np.testing.assert_array_equal(stored["readings"], detector.arrays()["readings"])


def test_growing_leaves_the_old_series_as_they_are() -> None:
    at, values = _many(1, 1.5)
    detector = AnomalyDetector(1)
    feed(detector, at, values[0])
    before = {name: array.copy() for name, array in detector.arrays().items()}
    detector.grow(5)
    assert len(detector) == 5
    for name, array in detector.arrays().items():
        np.testing.assert_array_equal(array[:1], before[name])
        assert not array[1:].any()
    with pytest.raises(ValueError, match="cannot shrink from 5 to 2"):
        detector.grow(2)


def test_state_that_does_not_fit_is_refused_with_the_reason() -> None:
    arrays = AnomalyDetector(3).arrays()
    del arrays["told"]
    with pytest.raises(ValueError, match="lacks told; start it afresh"):
        AnomalyDetector.from_arrays(arrays)
    arrays = {**AnomalyDetector(3).arrays(), "usual": np.zeros((3, 7), np.float32)}
    with pytest.raises(ValueError, match=r"'usual' has shape \(3, 7\), expected \(3, 2, 24\)"):
        AnomalyDetector.from_arrays(arrays)


def test_a_series_takes_less_than_a_kilobyte_and_its_fast_part_a_fifth_of_it() -> None:
    arrays = AnomalyDetector(1_000).arrays()
    size = {name: array.nbytes / 1_000 for name, array in arrays.items()}
    assert sum(size.values()) < 1_000
    assert sum(size[name] for name, field in FIELDS.items() if not field.slow) < 200


def test_ten_thousand_series_are_scored_in_well_under_a_window() -> None:
    # The aim is 20 ms on a quiet machine; the best of many runs is little moved by a busy one.
    series = 10_000
    detector = AnomalyDetector(series)
    rows = np.arange(series)
    values = np.random.default_rng(0).normal(80, 5, (50, series))
    took = []
    for i in range(50):
        started = time.perf_counter()
        detector.update(rows, np.full(series, i * 60_000), values[i])
        took.append(time.perf_counter() - started)
    assert min(took[35:]) < 0.05
    assert detector.arrays()["readings"].min() == 50


def test_no_reading_looks_ahead() -> None:
    at, values = _many(1, 2)
    changed = values[0].copy()
    changed[ROWS_A_DAY + 100 :] = 5
    one = feed(AnomalyDetector(1), at, values[0]).score
    other = feed(AnomalyDetector(1), at, changed).score
    np.testing.assert_array_equal(one[: ROWS_A_DAY + 100], other[: ROWS_A_DAY + 100])
    assert other[ROWS_A_DAY + 100] > one[ROWS_A_DAY + 100]
