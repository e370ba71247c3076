"""What each figure must reach, and whether a run reached it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["GOALS", "Goal", "Verdict", "judge"]


@dataclass(frozen=True)
class Goal:
    """``bench``'s value under ``key`` must be at least / at most / below ``limit``."""

    bench: str
    key: str
    relation: Literal[">=", "<=", "<"]
    limit: float
    meaning: str


@dataclass(frozen=True)
class Verdict:
    """A goal beside what was measured; ``value`` None where the run did not yield it."""

    goal: Goal
    value: float | None

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        if self.goal.relation == ">=":
            return self.value >= self.goal.limit
        if self.goal.relation == "<=":
            return self.value <= self.goal.limit
        return self.value < self.goal.limit

    @property
    def share(self) -> float | None:
        """Measured value as a share of the limit."""
        return None if self.value is None else self.value / self.goal.limit


GOALS = (
    Goal("streams", "readings_per_s", ">=", 400_000, "readings/s of one worker"),
    Goal("streams", "ratio_to_best_peer", ">=", 15, "times the best of Bytewax and Quix Streams"),
    Goal("streams", "everything_on_share", ">=", 0.5, "of that speed with everything on"),
    Goal("sink", "ratio_to_copy", ">=", 0.6, "of a bare binary COPY of the same rows"),
    Goal("gateway", "cpu_ratio_to_bare", "<=", 1.6, "times the CPU of a bare paho callback"),
    Goal("gateway", "ratio_to_naive_bridge", ">=", 2, "times a naive bridge"),
    Goal("e2e", "held_readings_per_s", ">=", 5_000, "readings/s held without growing lag"),
    Goal("e2e", "p99_row_s", "<", 2, "s from publish to database row, 99th percentile"),
    Goal("start", "ready_s", "<=", 20, "s from `up` to every part ready"),
    Goal("start", "worker_ready_s", "<=", 5, "s from kill -9 of the worker to its next report"),
    Goal("rest", "ours_cores", "<", 0.25, "of a core for our processes at 500 readings/s"),
    Goal("rest", "all_cores", "<", 0.7, "of a core for everything at 500 readings/s"),
    Goal("rest", "idle_ours_cores", "<", 0.05, "of a core for our processes without readings"),
    Goal("rest", "p99_row_s", "<", 1.5, "s from publish to database row, at 500 readings/s"),
    Goal("rest", "p99_live_s", "<", 1, "s from publish to a live client, 99th percentile"),
    Goal("feeds", "p99_s", "<", 1, "s from Kafka to a live client, 99th percentile"),
    Goal("feeds", "told_everything", ">=", 0.95, "of the live clients told everything"),
    Goal("alerts", "webhook_p99_s", "<", 1, "s from a window's closing to a webhook, 99th perc."),
    # Where there are no recorded series there is no score, and the goal is not met.
    Goal("allocation", "weighted_mean_vs_nearest", "<=", -0.2, "of nearest-unit's weighted mean"),
    Goal("allocation", "days_within_target_lower_than_nearest", "<", 1, "days with fewer in time"),
    Goal("allocation", "matching_s", "<", 1, "s for 500 tasks and 200 units"),
    Goal("nab", "score", ">=", 92, "of 100 on recorded labelled series"),
    # A window being closed is held as chunks, joined, with a sort order, and deduplicated. More
    # than that would be something beside the open readings that grows.
    Goal("memory", "copies_of_open_readings", "<=", 4, "times the open readings' own columns"),
    Goal("incidents", "detection_rate", ">=", 0.95, "of the incidents detected"),
    Goal(
        "incidents",
        "false_alarms_per_day_per_100_segments",
        "<=",
        1,
        "false alarms per day and 100 segments",
    ),
    Goal("incidents", "mttd_s", "<=", 180, "s mean time to detect"),
)


def judge(results: Mapping[str, Mapping[str, object]]) -> list[Verdict]:
    """Return the verdict on every goal whose bench is among ``results`` (name -> its object)."""
    verdicts = []
    for goal in GOALS:
        if goal.bench in results:
            value = results[goal.bench].get(goal.key)
            number = float(value) if isinstance(value, int | float) else None
            verdicts.append(Verdict(goal, number))
    return verdicts
