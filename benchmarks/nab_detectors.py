"""The detectors that are compared: ours, and simple ones that a city would otherwise use.

Each takes labelled series and returns a score per row, from the rows up to it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.nab_simulation import LabelledSeries
from streams.anomaly import AnomalyDetector

__all__ = ["DETECTORS", "civicstream_scores"]

Floats = NDArray[np.float64]
_PROBATION_SHARE = 0.15
_ENTROPY_BINS, _ENTROPY_WINDOW = 5, 52
_ENTROPY_LIMIT = 13.277
"""The 99 % quantile of chi-squared with four degrees of freedom."""


def civicstream_scores(series: Sequence[LabelledSeries]) -> list[Floats]:
    """Return our scores; the series are scored side by side, as the worker does it."""
    lengths = np.array([len(s.values) for s in series])
    detector = AnomalyDetector(len(series))
    scores = np.full((len(series), int(lengths.max(initial=0))), np.nan)
    at_ms = np.zeros(scores.shape, np.int64)
    values = np.full(scores.shape, np.nan)
    for i, one in enumerate(series):
        at_ms[i, : lengths[i]] = one.times.astype(np.int64)
        values[i, : lengths[i]] = one.values
    for k in range(scores.shape[1]):
        rows = np.flatnonzero(lengths > k)
        scores[rows, k] = detector.update(rows, at_ms[rows, k], values[rows, k]).score
    return [scores[i, :n] for i, n in enumerate(lengths)]


def windowed_gaussian(series: Sequence[LabelledSeries]) -> list[Floats]:
    """Return |z| against mean and deviation of all rows before, squeezed into 0..1."""
    return [_squeezed(_z_of_history(s.values)) for s in series]


def static_threshold(series: Sequence[LabelledSeries]) -> list[Floats]:
    """Return the distance from the median of the probation, in its interquartile ranges."""
    found = []
    for one in series:
        known = one.values[: max(int(_PROBATION_SHARE * len(one.values)), 2)]
        low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
        found.append(_squeezed(np.abs(one.values - middle) / max(high - low, 1e-9)))
    return found


def last_value(series: Sequence[LabelledSeries]) -> list[Floats]:
    """Return |z| of the change since the last reading among all changes before."""
    return [_squeezed(_z_of_history(np.diff(s.values, prepend=s.values[0]))) for s in series]


def relative_entropy(series: Sequence[LabelledSeries]) -> list[Floats]:
    """Return 1 where the last 52 values are distributed as at no time before, else 0.

    Wang, Viswanathan, Choudur, Talwar, Satterfield and Schwan, "Statistical techniques for
    online anomaly detection in data centers" (2011), multinomial goodness of fit. Five bins; as
    in the benchmark's own version the range of the values is known from the start.
    """
    return [_new_distributions(s.values) for s in series]


def _new_distributions(values: Floats) -> Floats:
    step = (values.max() - values.min()) / _ENTROPY_BINS
    scores = np.zeros(len(values))
    if step == 0:
        return scores
    bins = np.minimum(np.ceil((values - values.min()) / step).astype(np.intp), _ENTROPY_BINS - 1)
    counts = np.cumsum(np.eye(_ENTROPY_BINS)[bins], axis=0)
    counts[_ENTROPY_WINDOW:] -= counts[:-_ENTROPY_WINDOW].copy()
    known = np.empty((0, _ENTROPY_BINS))
    for i in range(_ENTROPY_WINDOW - 1, len(values)):
        share = counts[i] / _ENTROPY_WINDOW
        present = share > 0
        with np.errstate(divide="ignore"):
            apart = share[present] @ np.log(share[present] / known[:, present]).T
        if not (2 * _ENTROPY_WINDOW * apart < _ENTROPY_LIMIT).any():
            scores[i] = float(len(known) > 0)
            known = np.vstack([known, share])
    return scores


def _z_of_history(values: Floats) -> Floats:
    before = np.arange(1, len(values))
    mean = np.cumsum(values)[:-1] / before
    square = np.cumsum(values**2)[:-1] / before
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    z = np.zeros(len(values))
    z[1:] = np.abs(values[1:] - mean) / np.maximum(deviation, 1e-9)
    z[:10] = 0  # of so few rows no deviation is known
    return z


def _squeezed(distance: Floats) -> Floats:
    return np.asarray(distance / (1 + distance))


DETECTORS: dict[str, Callable[[Sequence[LabelledSeries]], list[Floats]]] = {
    "civicstream": civicstream_scores,
    "windowed_gaussian": windowed_gaussian,
    "static_threshold": static_threshold,
    "last_value": last_value,
    "relative_entropy": relative_entropy,
}
