"""A fleet of simulated crews keeps the order that the dispatcher needs, and its shifts."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from civicstream.roads import RoadGraph, RoadSpeeds
from civicstream.service_events import Action, Allocation, Case, Unit
from civicstream.services import load_services
from civicstream.settings import Settings
from ingest.city_messages import CityMessages, Refusal
from sensors_sim.citizens import CityProblem
from sensors_sim.city_plan import plan_city
from sensors_sim.crew_messages import crew_message
from sensors_sim.crew_roster import next_shift, plan_crews
from sensors_sim.crews import CrewPlan
from sensors_sim.dispatch_tablet import newest_standing
from sensors_sim.fleet import CrewMessage, Fleet
from sensors_sim.task_sites import TaskSites
from tests.kit import citizen_events
from tests.kit.allocation_making import HOUR, KM, MINUTE, NOW, TOWN

GRAPH, SERVICES = RoadGraph(TOWN), load_services()
SPEEDS = RoadSpeeds.free_flow(GRAPH)
STEP = 5_000
PLAN = CrewPlan(
    id="crew-1",
    area="a",
    skills=("road",),
    lon=0.0,
    lat=0.0,
    shift_start=NOW,
    shift_end=NOW + 8 * HOUR,
)


def case(id_: str, km: float, service: str = "pothole") -> Case:
    return Case(
        id=id_,
        version=1,
        state="received",
        area="a",
        service=service,
        agency="Roads",
        priority=3,
        lon=km * KM,
        lat=0.0,
        description="",
        reports=1,
        reporters=1,
        weight=1.0,
        opened_at=NOW,
        updated_at=NOW,
        due_at=NOW + HOUR,
        changed_by="system",
    )


def allocation(
    task: str, state: str = "proposed", by: str = "system", version: int = 1
) -> Allocation:
    return citizen_events.allocation(
        id=f"{task}/crew-1",
        version=version,
        state=state,
        task=task,
        unit="crew-1",
        area="a",
        decided_by=by,
        decided_at=NOW,
    )


class Town:
    """A fleet of one crew with its clock."""

    def __init__(self, *cases: Case, plan: CrewPlan = PLAN) -> None:
        self.sites = TaskSites(GRAPH, SERVICES)
        for one in cases:
            self.sites.learn(one)
        self.fleet = Fleet([plan], GRAPH, self.sites, 1, NOW, patience_ms=60_000)
        self.now = NOW
        self.said: list[CrewMessage] = []

    def assign(self, *allocations: Allocation) -> None:
        for one in allocations:
            self.said += self.fleet.assign(one, SPEEDS, self.now)

    def live(self, minutes: float) -> list[str]:
        """Go on for so long; return what was said meanwhile, repetitions once."""
        before = len(self.said)
        end = self.now + round(minutes * MINUTE)
        while self.now < end:
            self.now += STEP
            self.said += self.fleet.advance(self.now, SPEEDS.seconds[0], SPEEDS)
        words = [s.state if isinstance(s, Unit) else s.action for s in self.said[before:]]
        return [w for i, w in enumerate(words) if i == 0 or w != words[i - 1]]


def test_a_finished_crew_says_done_and_is_free_once_that_is_noted() -> None:
    town = Town(case("x", 2))
    town.live(0.2)
    town.assign(allocation("case/x"))
    words: list[str] = []
    while "done" not in words and town.now < NOW + HOUR:
        words += town.live(0.1)
    assert list(dict.fromkeys(words)) == ["accept", "en_route", "on_site", "done"]
    assert town.live(0.5) == []
    town.assign(allocation("case/x", "completed", "unit/crew-1", 3))
    assert isinstance(town.said[-1], Unit)
    assert town.said[-1].state == "available"
    assert town.live(3) == ["available"]


def test_a_finished_crew_waits_no_longer_than_its_patience() -> None:
    town = Town(case("x", 2))
    town.live(0.2)
    town.assign(allocation("case/x"))
    assert town.live(60) == ["accept", "en_route", "on_site", "done", "available"]
    done = next(s for s in town.said if isinstance(s, Action) and s.action == "done")
    assert done.subject == "allocation/case/x/crew-1"
    free = next(s for s in town.said[town.said.index(done) :] if isinstance(s, Unit))
    assert done.at <= free.at <= done.at + 60_000


def test_an_echo_of_its_own_word_does_not_turn_a_crew_round() -> None:
    town = Town(case("x", 10), case("y", 12))
    town.live(0.2)
    town.assign(allocation("case/x"))
    town.live(2)
    town.assign(allocation("case/x", "overridden", "op"), allocation("case/y", "accepted", "op"))
    town.assign(allocation("case/x", "accepted", "unit/crew-1", 2))
    town.live(5)
    assert {s.task for s in town.said[-3:] if isinstance(s, Unit)} == {"case/y"}


def test_a_crew_that_comes_on_duty_goes_on_with_what_it_had_accepted() -> None:
    town = Town(case("x", 10))
    town.assign(allocation("case/x", "accepted", "unit/crew-1", 2))
    assert town.live(15) == ["en_route", "on_site"]
    first = town.said[0]
    assert isinstance(first, Unit)
    assert (first.state, first.task) == ("en_route", "case/x")


def test_an_order_to_a_place_that_nobody_has_told_yet_is_carried_out_when_it_is_known() -> None:
    town = Town()
    town.live(0.2)
    town.assign(allocation("case/x", "accepted", "operator/anna"))
    assert town.live(5) == ["available"]
    town.sites.learn(case("x", 2))
    assert town.live(1) == ["en_route"]


def test_an_idle_crew_says_every_minute_where_it_is() -> None:
    town = Town()
    town.live(10)
    times = [s.at for s in town.said]
    assert len(times) == pytest.approx(10, abs=1)
    assert {b - a for a, b in pairwise(times)} == {MINUTE}


def test_the_next_shift_takes_over_where_one_ends() -> None:
    plan = CrewPlan(
        id="crew-1",
        area="a",
        skills=("road",),
        lon=0.0,
        lat=0.0,
        shift_start=NOW - 7 * HOUR,
        shift_end=NOW + HOUR,
    )
    town = Town(plan=plan)
    assert town.live(90) == ["available", "off_duty", "available"]
    last = town.said[-1]
    assert isinstance(last, Unit)
    assert last.shift_end == next_shift(plan).shift_end == NOW + 9 * HOUR


def test_a_crew_needs_as_long_as_the_simulated_problem_nearby_not_as_the_service_says() -> None:
    sites = TaskSites(GRAPH, SERVICES)
    sites.learn(case("x", 2))
    sites.learn(case("y", 2))
    sites.problems = [
        CityProblem(
            id="p1", area="a", service="graffiti", lon=2 * KM, lat=0.0, start_ms=NOW, work_s=111.0
        ),
        CityProblem(
            id="p2", area="a", service="pothole", lon=2.2 * KM, lat=0.0, start_ms=NOW, work_s=777.0
        ),
        CityProblem(
            id="p3", area="a", service="pothole", lon=4 * KM, lat=0.0, start_ms=NOW, work_s=222.0
        ),
    ]
    assert sites.site("case/x").work_s == 777.0
    sites.problems = []
    assert sites.site("case/x").work_s == 777.0, "the same however often it is asked for"
    assert sites.site("case/y").work_s == 60 * SERVICES["pothole"].work_min


@pytest.mark.parametrize("crews", [1, 3, 12, 40])
def test_whatever_can_be_reported_some_crew_can_do(crews: int) -> None:
    city = plan_city(100, 1)
    plans = plan_crews(city, SERVICES, crews, 1, NOW)
    assert len({p.id for p in plans}) == crews
    assert {s.skill for s in SERVICES.values()} | {"tow"} <= {s for p in plans for s in p.skills}
    assert all(p.shift_start <= NOW < p.shift_end <= NOW + 8 * HOUR for p in plans)
    assert plans == plan_crews(city, SERVICES, crews, 1, NOW)


def test_the_gateway_understands_what_crews_say() -> None:
    town = Town(case("x", 2))
    town.live(0.2)
    town.assign(allocation("case/x"))
    town.live(60)
    gateway, wall = CityMessages(Settings()), NOW + 100 * HOUR
    heard: list[Unit | Action] = []
    for said in town.said:
        topic, payload = crew_message(said, "city/v1", wall)
        found = gateway.take("unit", topic, payload, now_ms=wall, now=0.0)
        assert not isinstance(found, Refusal), found
        value = found[0].value
        if isinstance(said, Unit):
            heard.append(msgspec.json.decode(value, type=Unit))
        else:
            heard.append(msgspec.json.decode(value, type=Action))
    for said, got in zip(town.said, heard, strict=True):
        assert got.at == wall, "crews speak by the clock, however quick the simulated city is"
        if isinstance(said, Unit) and isinstance(got, Unit):
            assert (got.id, got.state, got.task, got.skills) == (
                said.id,
                said.state,
                said.task,
                said.skills,
            )
            assert got.shift_end - got.at == said.shift_end - said.at
        elif isinstance(said, Action) and isinstance(got, Action):
            assert (got.subject, got.action, got.by) == (said.subject, said.action, "unit/crew-1")


def test_of_what_was_decided_before_only_what_still_stands_counts() -> None:
    told = [
        allocation("case/a"),
        allocation("case/a", "accepted", version=2),
        allocation("case/b"),
        allocation("case/b", "withdrawn", version=2),
        allocation("case/a", version=1),
    ]
    assert newest_standing(told) == [allocation("case/a", "accepted", version=2)]
