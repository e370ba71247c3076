"""Goals are judged by what was measured, and by nothing when nothing was."""

from __future__ import annotations

import pytest

from benchmarks.goals import GOALS, Goal, Verdict, judge
from benchmarks.registry import BENCHES


def test_every_goal_belongs_to_a_bench() -> None:
    assert {goal.bench for goal in GOALS} <= set(BENCHES)
    judged = {goal.bench for goal in GOALS}
    assert judged == {
        "streams",
        "sink",
        "start",
        "rest",
        "gateway",
        "e2e",
        "memory",
        "allocation",
        "incidents",
        "feeds",
        "alerts",
        "nab",
    }


@pytest.mark.parametrize(
    ("relation", "value", "met"),
    [
        (">=", 15.0, True),
        (">=", 14.99, False),
        ("<=", 15.0, True),
        ("<=", 15.01, False),
        ("<", 14.99, True),
        ("<", 15.0, False),
    ],
)
def test_a_goal_is_met_at_its_limit_or_missed_by_a_hair(
    relation: str, value: float, met: bool
) -> None:
    goal = Goal("streams", "x", relation, 15, "times")  # type: ignore[arg-type]
    assert Verdict(goal, value).met is met


def test_a_bench_that_yielded_no_value_has_missed_its_goals() -> None:
    verdicts = judge({"streams": {"error": "ServerUnavailable: …"}})
    assert len(verdicts) == sum(goal.bench == "streams" for goal in GOALS)
    assert not any(verdict.met for verdict in verdicts)
    assert {verdict.value for verdict in verdicts} == {None}


def test_only_benches_that_ran_are_judged() -> None:
    assert {v.goal.bench for v in judge({"e2e": {"p99_row_s": 0.4}})} == {"e2e"}


def test_the_limits_are_those_the_project_promises() -> None:
    limits = {(goal.bench, goal.key): (goal.relation, goal.limit) for goal in GOALS}
    assert limits["streams", "readings_per_s"] == (">=", 400_000)
    assert limits["streams", "ratio_to_best_peer"] == (">=", 15)
    assert limits["streams", "everything_on_share"] == (">=", 0.5)
    assert limits["sink", "ratio_to_copy"] == (">=", 0.6)
    assert limits["gateway", "cpu_ratio_to_bare"] == ("<=", 1.6)
    assert limits["gateway", "ratio_to_naive_bridge"] == (">=", 2)
    assert limits["e2e", "held_readings_per_s"] == (">=", 5_000)
    assert limits["e2e", "p99_row_s"] == ("<", 2)
    assert limits["nab", "score"] == (">=", 92)


def test_anomaly_scores_without_recorded_series_have_missed_their_goal() -> None:
    (verdict,) = judge({"nab": {"score": None, "simulated_score": 99.0}})
    assert verdict.value is None
    assert not verdict.met
