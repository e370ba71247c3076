"""Trucks and the tour desk together, over simulated days: containers fill, tours empty them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from civicstream.city import Sensors
from civicstream.roads import RoadGraph, RoadSpeeds
from civicstream.service_events import BinForecast, Tour, Unit
from sensors_sim.channels import TRAITS
from sensors_sim.city_plan import plan_city
from sensors_sim.containers import Containers
from sensors_sim.trucks import Truck, plan_trucks
from streams.dispatch.allocation import TourPlanner
from streams.dispatch.demand import BinForecaster
from streams.windows.windows import Columns

NOW = 1_767_600_000_000
MINUTE, HOUR = 60_000, 3_600_000
CITY = plan_city(200, 3)
GRAPH = RoadGraph(CITY)
SPEEDS = RoadSpeeds.free_flow(GRAPH)
BINS = np.flatnonzero(CITY.sensors.kind == Sensors.kind_names.index("waste"))
KEYS = CITY.sensor_keys[BINS]


def desk_with_roads() -> TourPlanner:
    desk = TourPlanner()
    desk.take_speeds(SPEEDS)
    return desk


@dataclass
class Streets:
    """A city whose containers report every five minutes."""

    trucks: int = 1
    desk: TourPlanner = field(default_factory=desk_with_roads)
    versions: list[Tour] = field(default_factory=list)
    said: list[Unit] = field(default_factory=list)
    emptied: list[tuple[int, float]] = field(default_factory=list)
    full: list[int] = field(default_factory=list)
    """How many containers overflow, every five minutes."""
    stored: dict[str, bytes] = field(default_factory=dict)
    now: int = NOW

    def __post_init__(self) -> None:
        traits = np.random.default_rng(5).random((TRAITS, len(CITY.sensors)))
        self.containers = Containers(traits, NOW)
        self.forecaster = BinForecaster(CITY)
        plans = plan_trucks(CITY, self.trucks, 1, NOW)
        self.fleet = {p.id: Truck(p, GRAPH, self.empty, NOW) for p in plans}

    def empty(self, key: int, at: int) -> float:
        was = self.containers.empty(int(CITY.find_sensors(np.array([key]))[0]), at)
        self.emptied.append((key, was))
        return was

    def run(self, hours: float) -> None:
        until = self.now + round(hours * HOUR)
        while self.now < until:
            if (self.now - NOW) % (5 * MINUTE) == 0:
                self.hear_bins()
            for truck in self.fleet.values():
                self.hear(truck.advance(self.now, SPEEDS.seconds[0], SPEEDS))
            self.tell(self.desk.tick(self.now))
            self.stored |= {k: v for k, v in self.desk.changed().items() if v is not None}
            self.now += 15_000

    def hear_bins(self) -> None:
        ts = np.full(len(BINS), self.now, np.int64)
        levels = np.round(self.containers.levels(BINS, ts), 3)
        self.full.append(int((levels >= 1).sum()))
        none = np.full(len(BINS), np.nan)
        measures = {"fillingLevel": levels, "temperature": none}
        readings = Columns(KEYS, ts, np.zeros(len(BINS), np.int32), ts, measures)
        for forecast in self.forecaster.observe(readings, ["all"]):
            assert self.desk.apply(forecast, self.now) == []

    def hear(self, said: list[Unit]) -> None:
        for unit in said:
            self.said.append(unit)
            self.tell(self.desk.apply(unit, self.now))

    def tell(self, tours: list[Tour]) -> None:
        for tour in tours:
            self.versions.append(tour)
            self.hear(self.fleet[tour.unit].receive(tour, SPEEDS, self.now))


@pytest.fixture(scope="module")
def days() -> Streets:
    streets = Streets()
    streets.run(48)
    return streets


def by_id(versions: list[Tour]) -> dict[str, list[Tour]]:
    found: dict[str, list[Tour]] = defaultdict(list)
    for tour in versions:
        found[tour.id].append(tour)
    return found


def test_a_truck_keeps_the_containers_of_a_town_from_overflowing(days: Streets) -> None:
    assert len(BINS) >= 10
    first, second = days.full[: len(days.full) // 2], days.full[len(days.full) // 2 :]
    assert max(second) == 0, "after a first round nothing overflows any more"
    assert sum(second) <= sum(first)
    assert len({key for key, _ in days.emptied}) > len(BINS) / 4
    # It goes to those that are nearly full, not to all.
    assert np.mean([was for _, was in days.emptied]) > 0.7


def test_tours_are_told_by_versions_without_gaps_from_planned_to_finished(days: Streets) -> None:
    ended = 0
    for versions in by_id(days.versions).values():
        assert [t.version for t in versions] == list(range(1, len(versions) + 1))
        assert versions[0].state == "planned"
        if versions[-1].state in {"finished", "withdrawn"}:
            ended += 1
            assert versions[-1].state == "finished", versions[-1].note
            assert all(s.emptied_at is not None for s in versions[-1].stops)
    assert ended >= 2


def test_what_a_tour_says_of_kilometres_is_near_what_the_truck_drove(days: Streets) -> None:
    ends = [v[-1] for v in by_id(days.versions).values() if v[-1].state == "finished"]
    (truck,) = days.fleet.values()
    told = sum(tour.km_driven for tour in ends)
    # Between places told every 15 seconds corners are cut; the way from the road to the
    # container and back is not on the truck's own meter.
    assert 0.9 * truck.km < told < 1.05 * truck.km


def test_no_container_is_emptied_twice_for_one_filling(days: Streets) -> None:
    assert min(was for _, was in days.emptied) > 0.2


def test_no_tour_holds_more_than_the_truck(days: Streets) -> None:
    for tour in days.versions:
        assert tour.load <= tour.capacity + 1e-9
        keys = [s.sensor_key for s in tour.stops]
        assert len(set(keys)) == len(keys)


def test_two_trucks_never_share_a_container() -> None:
    streets = Streets(trucks=2)
    streets.run(6)
    standing: dict[str, set[int]] = {}
    for tour in streets.versions:
        standing[tour.id] = {s.sensor_key for s in tour.stops}
        if tour.state in {"finished", "withdrawn"}:
            del standing[tour.id]
        keys = [key for held in standing.values() for key in held]
        assert len(keys) == len(set(keys))


def test_a_desk_restored_from_its_items_goes_on_as_if_it_had_never_stopped() -> None:
    lasting, stopped = Streets(), Streets()
    for streets in (lasting, stopped):
        streets.run(1.0)
    assert lasting.versions == stopped.versions != []
    items = {k: v for k, v in stopped.stored.items() if not k.startswith("tour/")}
    standing = {t.id: t for t in stopped.versions if t.state not in {"finished", "withdrawn"}}
    for tour in stopped.versions:
        if tour.state in {"finished", "withdrawn"}:
            standing.pop(tour.id, None)
    items |= {f"tour/{id_}": stopped.stored[f"tour/{id_}"] for id_ in standing}
    stopped.desk = desk_with_roads()
    stopped.desk.restore(items)
    for streets in (lasting, stopped):
        streets.run(3.0)
    assert stopped.versions == lasting.versions


def forecast(index: int, at: int, full_in_h: float, emptied_at: int | None = None) -> BinForecast:
    sensor = int(BINS[index])
    return BinForecast(
        sensor_key=int(KEYS[index]),
        area="all",
        sensor=CITY.sensors.ids[sensor],
        lon=float(CITY.sensors.lon[sensor]),
        lat=float(CITY.sensors.lat[sensor]),
        at=at,
        level=0.85,
        fill_per_h=0.01,
        emptied_at=emptied_at,
        predicted_full_at=at + round(full_in_h * HOUR),
        full_low=None,
        full_high=None,
    )


def truck_says(state: str, task: str | None = None, at: int = NOW, place: int = 0) -> Unit:
    lon, lat = CITY.segments[place].line[0]
    skills = ["bin_collection"]
    return Unit(
        id="t",
        area="all",
        state=state,  # type: ignore[arg-type]
        skills=skills,
        lon=lon,
        lat=lat,
        shift_end=NOW + 8 * HOUR,
        capacity=40.0,
        load=0.0,
        at=at,
        task=task,
    )


def planned(full_in_h: float = -1.0) -> tuple[TourPlanner, Tour]:
    desk = desk_with_roads()
    desk.apply(forecast(0, NOW, full_in_h), NOW)
    desk.apply(truck_says("available"), NOW)
    (tour,) = desk.tick(NOW)
    return desk, tour


def test_a_truck_waits_until_it_is_worth_setting_out() -> None:
    desk = desk_with_roads()
    desk.apply(truck_says("available"), NOW)
    desk.apply(forecast(0, NOW, 6.0), NOW)
    assert desk.tick(NOW) == []
    desk.apply(forecast(1, NOW, 0.2), NOW)
    (tour,) = desk.tick(NOW + MINUTE)
    assert len(tour.stops) == 2, "what is full within half a day is taken along"


def test_a_container_that_fills_quicker_than_thought_is_taken_into_a_tour_under_way() -> None:
    desk, tour = planned()
    (stop,) = tour.stops
    desk.apply(truck_says("en_route", f"tour/{tour.id}/{stop.sensor_key}", NOW + MINUTE), NOW)
    desk.apply(forecast(1, NOW + MINUTE, 0.1), NOW)
    (version,) = desk.tick(NOW + 10 * MINUTE)
    assert (version.id, version.version, version.state) == (tour.id, 3, "under_way")
    assert {s.sensor_key for s in version.stops} == set(KEYS[:2].tolist())


def test_a_tour_is_left_alone_where_a_change_would_not_pay() -> None:
    desk, tour = planned()
    task = f"tour/{tour.id}/{tour.stops[0].sensor_key}"
    desk.apply(truck_says("en_route", task, NOW + MINUTE), NOW)
    desk.apply(forecast(0, NOW + 2 * MINUTE, -1.05), NOW)
    assert desk.tick(NOW + 10 * MINUTE) == []


def test_a_truck_that_does_not_set_out_loses_its_tour_and_is_not_asked_for_a_while() -> None:
    desk, tour = planned()
    (last,) = desk.tick(NOW + 11 * MINUTE)
    assert (last.id, last.state) == (tour.id, "withdrawn")
    assert desk.tick(NOW + 20 * MINUTE) == []
    desk.apply(truck_says("available", at=NOW + 45 * MINUTE), NOW)
    (again,) = desk.tick(NOW + 45 * MINUTE)
    assert again.state == "planned"


def test_an_emptied_container_is_not_gone_to_again_before_its_sensor_knows() -> None:
    desk, tour = planned()
    task = f"tour/{tour.id}/{tour.stops[0].sensor_key}"
    desk.apply(truck_says("en_route", task, NOW + MINUTE), NOW)
    (emptied,) = desk.apply(truck_says("on_site", task, NOW + 9 * MINUTE), NOW)
    assert emptied.stops[0].emptied_at == NOW + 9 * MINUTE
    assert emptied.overflow_h == pytest.approx(1.15)
    (last,) = desk.apply(truck_says("available", at=NOW + 20 * MINUTE), NOW)
    assert (last.state, last.note) == ("finished", "all emptied")
    desk.apply(forecast(0, NOW + 8 * MINUTE, -1.1), NOW)
    assert desk.tick(NOW + 21 * MINUTE) == []
    assert desk.tick(NOW + 80 * MINUTE), "an hour later the sensor is believed"


def test_a_crew_is_no_truck() -> None:
    desk = desk_with_roads()
    desk.apply(forecast(0, NOW, -1.0), NOW)
    desk.apply(msgspec.structs.replace(truck_says("available"), skills=["waste", "road"]), NOW)
    assert desk.tick(NOW) == []
