"""The bench of the allocation: fair, repeatable days, and figures that say what happened."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.allocation import interval, measures, summary
from benchmarks.allocation_day import START_MS, Arising, Day, Roads
from benchmarks.allocation_run import Outcome, run_day
from civicstream.roads import RoadGraph
from civicstream.service_events import Priority, Task
from sensors_sim.city_plan import plan_city
from sensors_sim.crews import CrewPlan, Site

HOUR = 3_600_000
CITY = plan_city(300, 4)
GRAPH = RoadGraph(CITY)


def small_day(tasks: int = 14, crews: int = 3) -> Day:
    """Half a day of a small city at steady speeds, more work than the crews can do at once."""
    rng = np.random.default_rng(9)
    free = np.array([s.free_flow_kmh for s in CITY.segments], np.float32)
    arising = []
    for number in range(tasks):
        segment = CITY.segments[int(rng.integers(len(CITY.segments)))]
        lon, lat = np.array(segment.line).mean(axis=0).tolist()
        at = START_MS + int(rng.integers(0, HOUR))
        priorities: tuple[Priority, ...] = (1, 2, 3, 4)
        task = Task(
            id=f"case/{number}",
            area=segment.area,
            lon=lon,
            lat=lat,
            skill="road",
            priority=priorities[number % 4],
            weight=1.0,
            opened_at=at,
            due_at=at + HOUR,
            work_s=900.0,
        )
        arising.append(Arising(at, task, Site(lon, lat, GRAPH.snap(np.array([[lon, lat]])), 900.0)))
    plans = []
    for number in range(crews):
        lon, lat = np.array(CITY.segments[number * 9].line).mean(axis=0).tolist()
        area = CITY.segments[number * 9].area
        end = START_MS + 12 * HOUR
        plans.append(
            CrewPlan(
                id=f"crew-{number}",
                area=area,
                skills=("road",),
                lon=lon,
                lat=lat,
                shift_start=START_MS,
                shift_end=end,
            )
        )
    roads = Roads(
        GRAPH, 0.7 * free[None], np.ones(len(GRAPH.segment)), np.zeros((1, len(CITY.segments)))
    )
    return Day(4, roads, sorted(arising, key=lambda a: a.at), plans, START_MS + 12 * HOUR)


def test_every_policy_serves_the_whole_day_and_a_day_repeats_itself() -> None:
    day = small_day()
    for policy in ("nearest_unit", "first_come_first_served", "optimal"):
        one, two = run_day(day, policy), run_day(day, policy)
        assert one.unserved == 0
        assert np.array_equal(one.minutes, two.minutes)
        assert one.km == two.km
        assert 0 < one.busy < 1
        assert (one.minutes > 0).all()
        assert one.plans > 0


def test_on_a_day_with_a_queue_the_optimal_policy_waits_less_by_priority_than_the_nearest() -> None:
    day = small_day(tasks=24)
    ours, nearest = (measures(run_day(day, p)) for p in ("optimal", "nearest_unit"))
    assert ours["weighted_mean_min"] < nearest["weighted_mean_min"]
    assert ours["km"] < nearest["km"]


def test_a_task_never_reached_counts_as_late_and_waiting_to_the_end() -> None:
    day = small_day(tasks=4)
    end = START_MS + 2 * HOUR
    asleep = CrewPlan("crew-0", "d0000", ("road",), *CITY.segments[0].line[0], end, end + HOUR)
    found = run_day(Day(day.seed, day.roads, day.arising, [asleep], end), "optimal")
    assert found.unserved == 4
    assert found.late.all()
    assert found.minutes.tolist() == [(end - a.at) / 60_000 for a in day.arising]


def outcome(minutes: list[float], priority: list[int], late: list[bool]) -> Outcome:
    return Outcome(
        minutes=np.array(minutes),
        priority=np.array(priority, np.intp),
        late=np.array(late),
        unserved=0,
        km=12.0,
        reassignments=3,
        busy=0.7,
        rejected=0,
        planning_s=1.0,
        plans=10,
        slowest_plan_s=0.1,
    )


def test_the_weighted_mean_counts_urgent_minutes_eight_times() -> None:
    found = measures(outcome([10, 20, 30, 100], [1, 2, 3, 4], [False, False, False, True]))
    assert found["weighted_mean_min"] == pytest.approx((80 + 80 + 60 + 100) / 15)
    assert found["mean_min"] == 40
    assert found["within_target"] == 0.75
    assert (found["p1_min"], found["p4_min"]) == (10, 100)


def test_the_interval_is_that_of_students_t() -> None:
    # Two degrees of freedom: t = 4.303.
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert interval([5.0]) == (5.0, 0.0)


def test_the_summary_compares_day_by_day() -> None:
    ours = [measures(outcome([m], [1], [False])) for m in (8.0, 6.0)]
    nearest = [measures(outcome([m], [1], [late])) for m, late in ((10.0, True), (10.0, False))]
    found = summary({"nearest_unit": nearest, "optimal": ours})
    assert found["weighted_mean_vs_nearest"] == pytest.approx(-0.3)
    assert found["within_target_vs_nearest"] == pytest.approx(0.5)
    assert found["days_within_target_lower_than_nearest"] == 0
    assert found["seeds"] == 2
