"""``civicstream bench nab``: anomaly scores judged as the Numenta Anomaly Benchmark does it.

On the recorded series of a folder (``--data``), where there is one, and on corpora of seven
simulated series each, one corpus per two seconds asked for: the seeds are fixed, so the same
``--seconds`` gives the same figures on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.nab_detectors import DETECTORS, civicstream_scores
from benchmarks.nab_scoring import JudgedFile, judge_file, normalised, score_at, sweep
from benchmarks.nab_simulation import (
    MEASURES,
    LabelledSeries,
    simulate_corpus,
    simulate_series,
)
from civicstream.errors import ConfigurationError
from streams.anomaly.recorded import read_rows

__all__ = ["RECORDED", "leave_one_out", "load_recorded", "run"]

Floats = NDArray[np.float64]

RECORDED = Path(__file__).parents[2] / "shared" / "data"
"""Where recorded data lies beside a checkout; nothing of it is part of the project."""
_LABELS = "nab_windows.json"

_SECONDS_PER_CORPUS = 2.0
_FIRST_SEED = 1_000
"""Apart from the seeds below 300, on which the detector was developed."""
_UNEVENTFUL_SEED = 5_000
_ALARM_SCORES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)


def run(*, seconds: float, data: Path | None = None) -> dict[str, object]:
    """Return one flat object: scores of 100, recorded and simulated, ours and the others'."""
    result: dict[str, object] = {}
    recorded = load_recorded(data or RECORDED)
    corpora = [
        simulate_corpus(_FIRST_SEED + k) for k in range(max(int(seconds / _SECONDS_PER_CORPUS), 2))
    ]
    result |= _on_recorded(recorded) if recorded else {"score": None}
    simulated = {name: _on_corpora(corpora, name) for name in DETECTORS}
    result["simulated_score"], result["simulated_ci95"] = simulated["civicstream"]
    result["simulated_corpora"] = len(corpora)
    result["detectors"] = [
        {
            "detector": name,
            "recorded": _overall(recorded, name) if recorded else None,
            "simulated": simulated[name][0],
            "simulated_ci95": simulated[name][1],
        }
        for name in DETECTORS
    ]
    result["uneventful"] = _readings_per_alarm()
    return result


def leave_one_out(files: Sequence[JudgedFile], scores: Sequence[Floats]) -> list[float]:
    """Return each file's raw score at the threshold that is best for the others.

    Where the others are judged alike by a range of thresholds, at the middle of the range: its
    ends are two readings of theirs, and say nothing of another file.
    """
    raw = []
    for i, file in enumerate(files):
        others = [j for j in range(len(files)) if j != i]
        best = sweep([files[j] for j in others], [scores[j] for j in others]).threshold
        pooled = np.concatenate([scores[j][files[j].judged] for j in others])
        lower = pooled[pooled < best]
        middle = (best + float(lower.max())) / 2 if len(lower) and np.isfinite(best) else best
        raw.append(score_at(file, scores[i], middle))
    return raw


def _judged(series: Sequence[LabelledSeries]) -> list[JudgedFile]:
    return [judge_file(s.name, s.times, s.windows) for s in series]


def _overall(series: Sequence[LabelledSeries], detector: str) -> float:
    return sweep(_judged(series), DETECTORS[detector](series)).score


def _on_recorded(series: Sequence[LabelledSeries]) -> dict[str, object]:
    files = _judged(series)
    scores = civicstream_scores(series)
    best = sweep(files, scores)
    others = leave_one_out(files, scores) if len(files) > 1 else [float("nan")] * len(files)
    windows = sum(best.windows)
    return {
        "score": best.score,
        "threshold": best.threshold,
        "leave_one_out_score": normalised(sum(others), windows),
        "recorded": [
            {
                "file": file.name,
                "windows": file.windows,
                "score": score,
                "leave_one_out": normalised(raw, file.windows),
                "false_alarms": int(
                    np.sum((s >= best.threshold) & file.judged & (file.window < 0))
                ),
            }
            for file, score, raw, s in zip(files, best.by_file, others, scores, strict=True)
        ],
    }


def _on_corpora(corpora: Sequence[Sequence[LabelledSeries]], name: str) -> tuple[float, float]:
    """Return the mean score, a threshold per corpus, and half the width of its 95 % interval."""
    together = [one for corpus in corpora for one in corpus]
    scores = DETECTORS[name](together)
    reached, k = [], 0
    for corpus in corpora:
        reached.append(sweep(_judged(corpus), scores[k : k + len(corpus)]).score)
        k += len(corpus)
    return float(np.mean(reached)), float(1.96 * np.std(reached, ddof=1) / np.sqrt(len(reached)))


def _readings_per_alarm() -> list[dict[str, object]]:
    """Return how seldom each score is reached in series in which nothing happens."""
    rng = np.random.default_rng(_UNEVENTFUL_SEED)
    series = [
        simulate_series(rng, measure, f"{measure}_{i}", eventful=False)
        for measure in MEASURES
        for i in range(30)
    ]
    scores = np.concatenate(
        [
            s[judge_file("", one.times, ()).judged]
            for s, one in zip(civicstream_scores(series), series, strict=True)
        ]
    )
    return [
        {"score": limit, "readings_per_alarm": len(scores) / max(int((scores >= limit).sum()), 1)}
        for limit in _ALARM_SCORES
    ]


def load_recorded(folder: Path) -> list[LabelledSeries]:
    """Return the labelled series of ``folder``, none when it has no labels.

    ConfigurationError for labels without their file, or a file with a row that cannot be read.
    """
    labels = folder / _LABELS
    if not labels.is_file():
        return []
    windows = msgspec.json.decode(labels.read_bytes(), type=dict[str, list[tuple[str, str]]])
    return [_load(folder / name, spans) for name, spans in sorted(windows.items())]


def _load(path: Path, spans: list[tuple[str, str]]) -> LabelledSeries:
    rows = list(read_rows(path, timestamp_column="timestamp", value_column="value"))
    bad = next((row for row in rows if row.problem), None)
    if bad is not None:
        raise ConfigurationError(f"{path}:{bad.line}: {bad.problem}")
    times = np.array([row.at_ms for row in rows], "M8[ms]")
    values = np.array([row.value for row in rows])
    windows = tuple((np.datetime64(a, "ms"), np.datetime64(b, "ms")) for a, b in spans)
    return LabelledSeries(path.name, times, values, windows)
