"""The Numenta Anomaly Benchmark's score, standard profile, from its published definition.

Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms" (2015): the earliest
detection inside a labelled window earns up to +1, on a sigmoid over the position in the
window; a missed window costs 1; every row at or above the threshold outside the windows costs
up to 0.11, less shortly after a window. The first 15 % of a file (of at most 5,000 rows) are
not judged. One threshold holds for all files: the one with the highest total.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["JudgedFile", "Sweep", "judge_file", "normalised", "score_at", "sweep"]

Floats = NDArray[np.float64]

FALSE_POSITIVE_WEIGHT = 0.11
FALSE_NEGATIVE_WEIGHT = 1.0
_PROBATION_SHARE = 0.15
_PROBATION_ROWS_OF = 5_000
_FAR_BEHIND = 3.0
"""Window widths after which a false positive costs its full weight."""


def _sigmoid(position: Floats) -> Floats:
    """Return the scaled sigmoid: nearly 1 at a window's left edge (-1), 0 at its right edge (0)."""
    near = 2 / (1 + np.exp(5 * np.minimum(position, _FAR_BEHIND))) - 1
    return np.where(position > _FAR_BEHIND, -1.0, near)


_AT_LEFT_EDGE = float(_sigmoid(np.array(-1.0)))


@dataclass(frozen=True)
class JudgedFile:
    """What a detection at each of the n rows is worth."""

    name: str
    weight: Floats
    """[n]: reward inside a window (0..1), cost outside (-0.11..0); 0 in the probation."""
    window: NDArray[np.intp]
    """[n]: index of the window a row is in, -1 outside."""
    judged: NDArray[np.bool_]
    """[n]: false for the rows of the probation."""
    windows: int


def judge_file(
    name: str, times: NDArray[np.datetime64], windows: Sequence[tuple[np.datetime64, np.datetime64]]
) -> JudgedFile:
    """Return the worth of every row; ``windows`` are [start, end], both included, in order.

    Raises ValueError for a window that holds no row: it could never be detected.
    """
    n = len(times)
    row = np.arange(n)
    weight = np.full(n, -FALSE_POSITIVE_WEIGHT)
    window = np.full(n, -1, np.intp)
    for k, (start, end) in enumerate(windows):
        inside = np.flatnonzero((times >= start) & (times <= end))
        if not len(inside):
            raise ValueError(f"{name}: window {start}..{end} holds no row; correct the labels")
        first, last = int(inside[0]), int(inside[-1])
        width = last - first + 1
        window[first : last + 1] = k
        position = (row - last - 1) / width
        weight[first : last + 1] = _sigmoid(position[first : last + 1]) / _AT_LEFT_EDGE
        # A window of one row has no width to count distances in; then every row is far behind.
        past = (row[last + 1 :] - last) / max(width - 1, 1e-9)
        weight[last + 1 :] = FALSE_POSITIVE_WEIGHT * _sigmoid(past)
    probation = int(_PROBATION_SHARE * min(n, _PROBATION_ROWS_OF))
    judged = row >= probation
    return JudgedFile(name, np.where(judged, weight, 0.0), window, judged, len(windows))


def score_at(file: JudgedFile, scores: Floats, threshold: float) -> float:
    """Return the raw score of one file when rows with a score >= ``threshold`` are detections.

    NaN scores are no detections.
    """
    hit = (scores >= threshold) & file.judged
    total = float(file.weight[hit & (file.window < 0)].sum())
    for k in range(file.windows):
        earned = file.weight[hit & (file.window == k)]
        total += float(earned.max()) if len(earned) else -FALSE_NEGATIVE_WEIGHT
    return total


def normalised(raw: float, windows: int) -> float:
    """Return 100 * (raw - null) / (perfect - null): 0 detects nothing, 100 all at once."""
    null = -FALSE_NEGATIVE_WEIGHT * windows
    return 100 * (raw - null) / (windows - null)


@dataclass(frozen=True)
class Sweep:
    """The best threshold for some files together, and what each file then reaches."""

    threshold: float
    raw: tuple[float, ...]
    windows: tuple[int, ...]

    @property
    def score(self) -> float:
        """The normalised score of all files together."""
        return normalised(sum(self.raw), sum(self.windows))

    @property
    def by_file(self) -> list[float]:
        """The normalised score of each file at the common threshold."""
        return [normalised(r, w) for r, w in zip(self.raw, self.windows, strict=True)]


def sweep(files: Sequence[JudgedFile], scores: Sequence[Floats]) -> Sweep:
    """Return the threshold with the highest total over ``files``, the highest such one."""
    every = np.concatenate([s[f.judged & ~np.isnan(s)] for f, s in zip(files, scores, strict=True)])
    worth = np.concatenate(
        [_gains(f, s)[f.judged & ~np.isnan(s)] for f, s in zip(files, scores, strict=True)]
    )
    order = np.argsort(-every, kind="stable")
    every, total = every[order], np.cumsum(worth[order])
    # Rows of one score are detected together: only the last of them tells the total.
    ends = np.flatnonzero(np.append(every[1:] != every[:-1], np.ones(min(len(every), 1), bool)))
    threshold = np.inf
    if len(ends) and total[ends].max() > 1e-12:
        threshold = float(every[ends[int(np.argmax(total[ends]))]])
    raw = tuple(score_at(f, s, threshold) for f, s in zip(files, scores, strict=True))
    return Sweep(threshold, raw, tuple(f.windows for f in files))


def _gains(file: JudgedFile, scores: Floats) -> Floats:
    """Return what each row adds to the total when the threshold falls to its score."""
    gain = file.weight.copy()
    for k in range(file.windows):
        rows = np.flatnonzero((file.window == k) & ~np.isnan(scores))
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        reached = np.maximum.accumulate(file.weight[rows])
        gain[rows] = np.diff(reached, prepend=-FALSE_NEGATIVE_WEIGHT)
    return gain
