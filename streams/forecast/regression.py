"""Ridge regressions solved again and again from running sums, and how far to trust them.

Both forget exponentially. Their weights shrink to zero, that is to no change from what they
correct: the shared model to persistence, a series' own to the shared one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["OwnRidge", "SharedRidge", "Trust"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


class SharedRidge:
    """One model of all series: ``weights`` float32[inputs, targets]."""

    def __init__(self, inputs: int, targets: int, *, ridge: float, keep: float) -> None:
        """``keep`` is the share of the sums that each learning leaves, e.g. exp(-1/steps)."""
        self._ridge, self._keep = ridge, keep
        self.gram = np.zeros((inputs, inputs))
        self.cross = np.zeros((inputs, targets))
        self.weights = np.zeros((inputs, targets), np.float32)

    def learn(self, inputs: Floats32, targets: Floats32) -> None:
        """Add rows: ``inputs`` [m, inputs], ``targets`` [m, targets]."""
        self.gram *= self._keep
        self.cross *= self._keep
        self.gram += inputs.T @ inputs
        self.cross += inputs.T @ targets

    def solve(self) -> None:
        """Bring the weights up to what was learned."""
        diagonal = self._ridge * np.eye(len(self.gram))
        self.weights = np.linalg.solve(self.gram + diagonal, self.cross).astype(np.float32)

    def predict(self, inputs: Floats32) -> Floats32:
        """Return [n, targets]."""
        predicted: Floats32 = inputs @ self.weights
        return predicted


class OwnRidge:
    """A small model per series: ``weights`` float32[n, inputs, targets]."""

    def __init__(self, n: int, inputs: int, targets: int, *, ridge: float, keep: float) -> None:
        self._ridge, self._keep = ridge, keep
        self.gram = np.zeros((n, inputs, inputs), np.float32)
        self.cross = np.zeros((n, inputs, targets), np.float32)
        self.weights = np.zeros((n, inputs, targets), np.float32)

    def learn(
        self, chosen: slice, inputs: Floats32, targets: Floats32, known: NDArray[np.bool_]
    ) -> None:
        """Add a row for each of m ``chosen`` series where ``known`` [m].

        ``inputs`` [m, inputs], ``targets`` [m, targets].
        """
        rows = np.where(known[:, None], inputs, 0)
        gram, cross = self.gram[chosen], self.cross[chosen]  # views: what follows is in place
        gram *= self._keep
        cross *= self._keep
        gram += rows[:, :, None] * rows[:, None, :]
        cross += rows[:, :, None] * targets[:, None, :]

    def forget(self, series: NDArray[np.intp], inputs: NDArray[np.intp]) -> None:
        """Drop what was learned of some inputs, which mean something else from now on."""
        self.gram[series, inputs] = 0
        self.gram[series, :, inputs] = 0
        self.cross[series, inputs] = 0
        self.weights[series, inputs] = 0

    def solve(self, chosen: slice) -> None:
        """Bring the weights of some series up to what was learned."""
        diagonal = self._ridge * np.eye(self.gram.shape[1], dtype=np.float32)
        self.weights[chosen] = np.linalg.solve(self.gram[chosen] + diagonal, self.cross[chosen])

    def predict(self, inputs: Floats32) -> Floats32:
        """Return [n, targets]."""
        predicted: Floats32 = (inputs[:, None, :] @ self.weights)[:, 0, :]
        return predicted


class Trust:
    """The factor in 0..1 that would have made past predictions best, per target.

    The regression of what happened on what was predicted before it happened (stacking, Wolpert
    1992), with a prior that the prediction is worth nothing: a model must earn its say.
    """

    def __init__(self, targets: int, *, prior: float, keep: float) -> None:
        """``prior`` is in units of the summed squares of the predictions."""
        self._prior, self._keep = prior, keep
        self.product = np.zeros(targets)
        self.square = np.zeros(targets)

    def learn(self, targets: NDArray[np.intp], predicted: Floats32, happened: Floats32) -> None:
        """Take in predictions [m, n] and what became of them, row r of target ``targets[r]``.

        A prediction whose outcome is unknown must be 0.
        """
        self.product[targets] *= self._keep
        self.square[targets] *= self._keep
        self.product[targets] += (predicted * happened).sum(axis=1)
        self.square[targets] += (predicted * predicted).sum(axis=1)

    @property
    def factor(self) -> Floats32:
        """Return float32[targets]."""
        factor = np.clip(self.product / (self.square + self._prior), 0.0, 1.0)
        return factor.astype(np.float32)
