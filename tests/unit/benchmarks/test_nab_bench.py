"""The bench of anomaly scores: labelled series, simulated and recorded, ours beside others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import nab
from benchmarks.nab import load_recorded
from benchmarks.nab_detectors import (
    DETECTORS,
    civicstream_scores,
    relative_entropy,
    windowed_gaussian,
)
from benchmarks.nab_scoring import judge_file, sweep
from benchmarks.nab_simulation import EVENTS, LabelledSeries, simulate_corpus
from streams.anomaly.recorded import read_rows
from streams.anomaly.score_command import score_rows


def test_simulated_windows_are_judged_and_hold_a_tenth_of_the_rows() -> None:
    for series in simulate_corpus(7):
        file = judge_file(series.name, series.times, series.windows)
        assert 1 <= file.windows <= 4
        assert file.judged[file.window >= 0].all()
        assert 0.08 < (file.window >= 0).mean() < 0.12
        assert (np.diff(series.times).astype(np.int64) > 0).all()


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another() -> None:
    one, again, other = simulate_corpus(1), simulate_corpus(1), simulate_corpus(2)
    np.testing.assert_array_equal(one[0].values, again[0].values)
    assert len(one[0].values) != len(other[0].values) or any(one[0].values != other[0].values)


def test_every_kind_of_event_is_simulated() -> None:
    seen = {event for seed in range(12) for s in simulate_corpus(seed) for event in s.events}
    assert seen == set(EVENTS)


def test_our_detector_beats_the_others_on_simulated_series() -> None:
    corpora = [s for seed in (901, 902, 903, 904) for s in simulate_corpus(seed)]
    files = [judge_file(s.name, s.times, s.windows) for s in corpora]
    reached = {name: sweep(files, detect(corpora)).score for name, detect in DETECTORS.items()}
    assert max(reached, key=lambda name: reached[name]) == "civicstream"


def test_a_baseline_does_not_look_ahead() -> None:
    series = simulate_corpus(3)[0]
    cut = LabelledSeries("cut", series.times[:500], series.values[:500], ())
    np.testing.assert_allclose(
        windowed_gaussian([cut])[0], windowed_gaussian([series])[0][:500], atol=1e-9
    )


def test_without_recorded_data_the_bench_judges_simulated_series_alone(tmp_path: Path) -> None:
    found = nab.run(seconds=1, data=tmp_path)
    assert found["score"] is None
    assert found["simulated_corpora"] == 2
    assert float(str(found["simulated_score"])) > 40


def test_the_command_scores_a_file_as_the_bench_does(shared_data: Path) -> None:
    series = next(s for s in load_recorded(shared_data) if "occupancy" in s.name)
    rows = read_rows(shared_data / series.name, timestamp_column="timestamp", value_column="value")
    by_command = [found for _, found in score_rows(rows)]
    np.testing.assert_array_equal(by_command, civicstream_scores([series])[0])


def test_recorded_series_reach_what_the_documentation_says(shared_data: Path) -> None:
    series = load_recorded(shared_data)
    files = [judge_file(s.name, s.times, s.windows) for s in series]
    scores = civicstream_scores(series)
    assert sweep(files, scores).score > 92
    left_out = nab.leave_one_out(files, scores)
    assert sum(left_out) / sum(f.windows for f in files) == pytest.approx(0.83, abs=0.12)


def test_relative_entropy_tells_a_new_distribution_once() -> None:
    values = np.tile([1.0, 2.0, 3.0, 4.0, 9.0], 80)
    values[200:300] = 9.0
    times = np.datetime64("2024-01-01", "ms") + np.arange(400) * np.timedelta64(5, "m")
    found = relative_entropy([LabelledSeries("shift", times, values, ())])[0]
    assert not found[:200].any()
    assert found[200:260].any()
    assert not found[360:].any(), "the old distribution is known"
