"""When a part that died is started again: pure arithmetic, the clock is a parameter."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff", "RestartRecord"]


@dataclass(frozen=True)
class Backoff:
    """Pauses [s] before successive restarts: ``first_s`` doubling up to ``longest_s``.

    A part that was ready for ``forgive_s`` starts again at the first pause.
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    forgive_s: float = 60.0

    def pause_s(self, failures: int) -> float:
        """Return the pause after the ``failures``-th failure in a row (1, 2, …)."""
        # The exponent is bounded because 2.0**1024 overflows; the longest pause comes sooner.
        return min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 60))


@dataclass(frozen=True)
class RestartRecord:
    """How often a part has died; times are seconds of a monotonic clock."""

    failures: int = 0
    """In a row."""
    restarts: int = 0
    """Since the start of the stack."""

    def after_death(
        self, *, ready_since: float | None, now: float, backoff: Backoff
    ) -> tuple[RestartRecord, float]:
        """Return the record after a death at ``now`` and when [s] to start the part again.

        ``ready_since``: None for one that never got ready, however long it tried.
        """
        recovered = ready_since is not None and now - ready_since >= backoff.forgive_s
        failures = 1 if recovered else self.failures + 1
        return RestartRecord(failures, self.restarts + 1), now + backoff.pause_s(failures)
