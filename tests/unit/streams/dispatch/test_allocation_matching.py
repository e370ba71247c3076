"""Who is matched with whom: skills, shifts, capacity, weights, lateness, and all together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.errors import ConfigurationError
from streams.dispatch.allocation import Dispatcher, DispatchSettings
from streams.dispatch.allocation.assignment import assign, extra_costs
from tests.kit.allocation_making import (
    HOUR,
    MINUTE,
    NOW,
    TOWN,
    advices,
    dispatcher,
    pairs,
    task,
    unit,
)


def planned(desk: Dispatcher, *events: object) -> dict[str, str]:
    for event in events:
        desk.apply(event, NOW)  # type: ignore[arg-type]
    return pairs(desk.plan(NOW))


def test_two_tasks_get_the_two_units_that_are_best_together() -> None:
    # Nearest first would send b (1 km) to near and leave a 20 km to far.
    events = (unit("a", 0), unit("b", 11), task("near", 10), task("far", 20))
    assert planned(dispatcher(), *events) == {"case/near": "a", "case/far": "b"} or planned(
        dispatcher(), *events
    ) == {"case/near": "b", "case/far": "a"}
    costs = {("a", "near"): 10, ("a", "far"): 20, ("b", "near"): 1, ("b", "far"): 9}
    chosen = planned(dispatcher(), *events)
    total = sum(costs[u, t.removeprefix("case/")] for t, u in chosen.items())
    assert total == 19


def test_nearest_unit_takes_the_nearest_for_each_task_in_turn() -> None:
    events = (
        unit("a", 0),
        unit("b", 11),
        task("first", 10, opened_at=NOW - 2),
        task("second", 12, opened_at=NOW - 1),
    )
    assert planned(dispatcher("nearest_unit"), *events) == {
        "case/first": "b",
        "case/second": "a",
    }


def test_nearest_unit_goes_by_priority_and_first_come_by_age() -> None:
    events = (
        unit("only", 0),
        task("old", 5, opened_at=NOW - HOUR),
        task("urgent", 5, priority=1),
    )
    assert planned(dispatcher("nearest_unit"), *events) == {"case/urgent": "only"}
    assert planned(dispatcher("first_come_first_served"), *events) == {"case/old": "only"}
    assert planned(dispatcher("optimal"), *events) == {"case/urgent": "only"}


def test_a_unit_without_the_skill_is_never_sent() -> None:
    events = (unit("near", 1, skills=["tree"]), unit("far", 30), task("t", 0))
    for policy in ("optimal", "nearest_unit", "first_come_first_served"):
        assert planned(dispatcher(policy), *events) == {"case/t": "far"}


def test_drive_and_work_must_fit_into_the_shift() -> None:
    # 10 minutes of driving and 30 of work.
    for left_min, sent in ((41, {"case/t": "u"}), (39, {})):
        events = (unit("u", 10, shift_end=NOW + left_min * MINUTE), task("t", 0))
        assert planned(dispatcher(), *events) == sent


def test_a_full_truck_is_not_sent_for_more() -> None:
    full = unit("full", 1, capacity=5.0, load=4.5)
    assert planned(dispatcher(), full, unit("empty", 20), task("t", 0, demand=1.0)) == {
        "case/t": "empty"
    }


@pytest.mark.parametrize("state", ["off_duty", "on_site"])
def test_a_unit_that_is_not_free_is_not_sent(state: str) -> None:
    assert planned(dispatcher(), unit("u", 1, state=state), task("t", 0)) == {}


def test_a_unit_on_site_that_is_nearly_done_is_waited_for() -> None:
    desk = dispatcher()
    busy = unit("busy", 0.5, state="on_site", task="case/now", at=NOW - 28 * MINUTE)
    sent = planned(desk, task("now", 0.5), busy, unit("far", 40), task("t", 0))
    assert sent == {}
    # One that has just begun is not.
    desk = dispatcher(look_ahead_min=10.0)
    busy = unit("busy", 0.5, state="on_site", task="case/now", at=NOW)
    assert planned(desk, task("now", 0.5), busy, unit("far", 40), task("t", 0)) == {"case/t": "far"}


def test_a_task_near_its_target_goes_before_one_with_time() -> None:
    soon = task("soon", 20, opened_at=NOW, due_at=NOW + 10 * MINUTE)
    assert planned(dispatcher(time_price=0.0), unit("u", 0), soon, task("later", 20)) == {
        "case/soon": "u"
    }


def test_what_many_report_goes_before_what_one_reports() -> None:
    assert planned(dispatcher(), unit("u", 0), task("one", 5), task("many", 5, weight=2.0)) == {
        "case/many": "u"
    }


def test_with_a_queue_the_shorter_job_goes_first() -> None:
    events = (unit("u", 0), task("long", 5, work_s=7200.0), task("short", 5, work_s=600.0))
    assert planned(dispatcher(), *events) == {"case/short": "u"}


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'best'.*optimal, nearest_unit"):
        Dispatcher(TOWN, DispatchSettings(policy="best"))


def test_weights_must_be_given_for_all_priorities() -> None:
    with pytest.raises(ConfigurationError, match="priority_weight"):
        DispatchSettings(priority_weight={1: 5.0})


costs_of_rounds = st.tuples(
    st.integers(1, 5), st.integers(1, 4), st.integers(0, 100_000), st.floats(0, 0.5)
)


def some_costs(of: tuple[int, int, int, float]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    tasks, units, seed, forbidden = of
    rng = np.random.default_rng(seed)
    cost = np.where(
        rng.random((tasks, units)) < forbidden, np.inf, rng.uniform(0, 10, (tasks, units))
    )
    return cost, rng.uniform(5, 30, tasks)


def brute(cost: np.ndarray, unassigned: np.ndarray, fixed: tuple[int, int] | None = None) -> float:  # type: ignore[type-arg]
    """Least total cost of all plans, with one pair fixed."""
    tasks, units = cost.shape
    best = np.inf
    for plan in itertools.product(range(-1, units), repeat=tasks):
        used = [u for u in plan if u >= 0]
        if len(set(used)) < len(used) or (fixed and plan[fixed[0]] != fixed[1]):
            continue
        best = min(best, sum(cost[t, u] if u >= 0 else unassigned[t] for t, u in enumerate(plan)))
    return best


@settings(max_examples=60)
@given(costs_of_rounds)
def test_no_other_plan_costs_less(of: tuple[int, int, int, float]) -> None:
    cost, unassigned = some_costs(of)
    chosen = assign(cost, unassigned)
    total = sum(cost[t, u] if u >= 0 else unassigned[t] for t, u in enumerate(chosen.tolist()))
    assert total == pytest.approx(brute(cost, unassigned))


@settings(max_examples=60)
@given(costs_of_rounds)
def test_the_cost_of_another_choice_is_what_the_whole_plan_would_cost_more(
    of: tuple[int, int, int, float],
) -> None:
    cost, unassigned = some_costs(of)
    chosen = assign(cost, unassigned)
    extra = extra_costs(cost, unassigned, chosen)
    best = brute(cost, unassigned)
    exact = np.array(
        [
            [brute(cost, unassigned, (t, u)) - best for u in range(cost.shape[1])]
            for t in range(cost.shape[0])
        ]
    )
    assert (np.isinf(exact) == np.isinf(extra)).all()
    known = np.isfinite(exact)
    assert (extra[known] >= exact[known] - 1e-9).all()
    # Too high only where three tasks or more would have to move in a ring.
    if cost.shape[0] < 3:
        assert extra[known] == pytest.approx(exact[known])


def test_every_advice_says_when_why_and_what_the_next_best_costs() -> None:
    desk = dispatcher()
    for event in (unit("a", 5), unit("b", 12), task("t", 0, priority=2)):
        desk.apply(event, NOW)
    advice = advices(desk.plan(NOW))[0]
    assert (advice.unit, advice.version, advice.state, advice.policy) == (
        "a",
        1,
        "proposed",
        "optimal",
    )
    assert advice.arrival_at == pytest.approx(NOW + 5 * MINUTE, abs=1500)
    assert advice.route == ["s4", "s3", "s2", "s1", "s0"]
    (other,) = advice.alternatives
    assert other.unit == "b"
    assert other.arrival_at == pytest.approx(NOW + 12 * MINUTE, abs=1500)
    # Seven minutes more at weight 4.
    assert other.extra_cost == pytest.approx(28, abs=0.3)
    assert "a can be there in 5 min" in advice.reason
    assert "55 min before the target" in advice.reason
    assert "b, 7 min later, would cost the plan 28" in advice.reason
