"""Simulated crews answer, drive at the roads' true speeds, work, and keep their shifts."""

from __future__ import annotations

import numpy as np
import pytest

from civicstream.roads import RoadGraph, RoadSpeeds
from civicstream.service_events import Action, Allocation, Unit
from sensors_sim.crews import Crew, CrewPlan, Site
from tests.kit.allocation_making import HOUR, KM, MINUTE, NOW, TOWN
from tests.kit.citizen_events import allocation

GRAPH = RoadGraph(TOWN)
SPEEDS = RoadSpeeds.free_flow(GRAPH)
STEP = 5_000


def site(km: float, work_min: float = 20.0) -> Site:
    return Site(km * KM, 0.0, GRAPH.snap(np.array([[km * KM, 0.0]])), work_min * 60)


SITES = {"case/a": site(10), "case/b": site(2)}


def crew(km: float = 0.0, shift_h: float = 8.0, seed: int = 1) -> Crew:
    plan = CrewPlan(
        id="crew",
        area="a",
        skills=("road",),
        lon=km * KM,
        lat=0.0,
        shift_start=NOW,
        shift_end=NOW + round(shift_h * HOUR),
    )
    return Crew(plan, GRAPH, SITES.__getitem__, seed, NOW)


def offer(task: str, state: str = "proposed", version: int = 1) -> Allocation:
    return allocation(id=f"{task}/crew", version=version, state=state, task=task, unit="crew")


def live(
    one: Crew,
    minutes: float,
    start: int = NOW,
    seconds: np.ndarray | None = None,  # type: ignore[type-arg]
) -> list[Unit | Action]:
    """Everything the crew says over so many minutes."""
    true = SPEEDS.seconds[0] if seconds is None else seconds
    out: list[Unit | Action] = []
    for now in range(start, start + round(minutes * MINUTE) + 1, STEP):
        out += one.advance(now, true, SPEEDS)
    return out


def states(out: list[Unit | Action]) -> list[str]:
    """The states in order, each once."""
    found = [e.state if isinstance(e, Unit) else e.action for e in out]
    return [s for i, s in enumerate(found) if i == 0 or s != found[i - 1]]


def arrival(out: list[Unit | Action]) -> int:
    return next(e.at for e in out if isinstance(e, Unit) and e.state == "on_site")


def test_a_crew_accepts_drives_works_and_is_free_again() -> None:
    one = crew()
    said = live(one, 1)
    one.receive(offer("case/a"), SPEEDS, NOW + MINUTE)
    said += live(one, 60, NOW + MINUTE)
    assert states(said) == ["available", "accept", "en_route", "on_site", "available"]
    assert one.km == pytest.approx(10, rel=1e-3)
    left = next(e for e in reversed(said) if isinstance(e, Unit) and e.state == "available")
    assert left.at - arrival(said) == 20 * MINUTE


def test_it_is_as_fast_as_the_roads_are_not_as_was_forecast() -> None:
    arrivals = []
    for slower in (1.0, 3.0):
        one = crew()
        live(one, 0)
        one.receive(offer("case/a", "accepted"), SPEEDS, NOW)
        arrivals.append(arrival(live(one, 60, NOW, SPEEDS.seconds[0] * slower)) - NOW)
    # Ten kilometres at a kilometre a minute.
    assert arrivals[0] == pytest.approx(10 * MINUTE, abs=10)
    assert arrivals[1] == pytest.approx(30 * MINUTE, abs=10)


def test_the_length_of_the_steps_does_not_change_the_arrival() -> None:
    arrivals = set()
    for step in (1_000, 7_000, 60_000):
        one = crew()
        one.advance(NOW, SPEEDS.seconds[0], SPEEDS)
        one.receive(offer("case/a", "accepted"), SPEEDS, NOW)
        out: list[Unit | Action] = []
        for now in range(NOW, NOW + 11 * MINUTE, step):
            out += one.advance(now, SPEEDS.seconds[0], SPEEDS)
        arrivals.add(round(arrival(out), -2))
    assert len(arrivals) == 1


def test_a_crew_that_is_turned_round_drives_on_from_where_it_is() -> None:
    one = crew(km=5)
    live(one, 0)
    one.receive(offer("case/a", "accepted"), SPEEDS, NOW)
    live(one, 2, NOW)
    (stopped,) = one.receive(offer("case/a", "withdrawn", 2), SPEEDS, NOW + 2 * MINUTE)
    assert (stopped.state, stopped.lon) == ("available", pytest.approx(7 * KM, abs=1e-5))
    one.receive(offer("case/b", "accepted"), SPEEDS, NOW + 2 * MINUTE)
    assert arrival(live(one, 30, NOW + 2 * MINUTE)) - NOW == pytest.approx(7 * MINUTE, abs=100)
    assert one.km == pytest.approx(7, rel=1e-3)


def test_a_proposal_withdrawn_before_the_answer_is_forgotten() -> None:
    one = crew()
    live(one, 0)
    one.receive(offer("case/a"), SPEEDS, NOW)
    one.receive(offer("case/a", "withdrawn", 2), SPEEDS, NOW + 1000)
    assert live(one, 5, NOW) == []


def test_some_crews_reject_some_tasks_and_always_the_same() -> None:
    answers = []
    for _ in range(2):
        verdicts = []
        for seed in range(150):
            one = crew(seed=seed)
            live(one, 0)
            one.receive(offer("case/b"), SPEEDS, NOW)
            said = live(one, 1.1, NOW)
            verdicts.append(next(e.action for e in said if isinstance(e, Action)))
        answers.append(verdicts)
    assert answers[0] == answers[1]
    assert 0 < answers[0].count("reject") < 20


def test_a_crew_comes_on_duty_finishes_its_work_and_goes_home() -> None:
    plan = CrewPlan(
        id="crew",
        area="a",
        skills=("road",),
        lon=0.0,
        lat=0.0,
        shift_start=NOW + 2 * MINUTE,
        shift_end=NOW + 15 * MINUTE,
    )
    one = Crew(plan, GRAPH, SITES.__getitem__, 1, NOW)
    assert live(one, 1.9) == []
    assert states(live(one, 0.2, NOW + 2 * MINUTE)) == ["available"]
    one.receive(offer("case/b", "accepted"), SPEEDS, NOW + 3 * MINUTE)
    # Two minutes there and twenty of work end after the shift does.
    assert states(live(one, 40, NOW + 3 * MINUTE)) == [
        "en_route",
        "on_site",
        "available",
        "off_duty",
    ]
