"""What makes demand, how it is weighed, and what pressure is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from civicstream.events import Anomaly, Incident
from civicstream.service_events import Demand, ParkingForecast
from streams.dispatch.demand import DemandForecaster
from tests.kit.demand_making import (
    DEMAND_SERVICES,
    HOUR,
    MIDNIGHT,
    MINUTE,
    make_bin,
    make_case,
    make_city,
    make_unit,
)
from tests.kit.sink_events import incident


def _desk() -> DemandForecaster:
    desk = DemandForecaster(DEMAND_SERVICES, make_city())
    desk.tick(MIDNIGHT)
    return desk


def _of(told: list[Demand], service: str = "pothole", area: str = "west") -> Demand:
    (found,) = [d for d in told if (d.area, d.service) == (area, service)]
    return found


def test_open_cases_count_until_they_are_closed() -> None:
    desk = _desk()
    desk.apply(make_case(1), MIDNIGHT)
    desk.apply(make_case(2), MIDNIGHT)
    desk.apply(make_case(2, version=2, state="assigned"), MIDNIGHT)
    assert _of(desk.tick(MIDNIGHT + MINUTE)).open_tasks == 2
    desk.apply(make_case(1, version=2, state="rejected"), MIDNIGHT + MINUTE)
    assert _of(desk.tick(MIDNIGHT + 2 * MINUTE)).open_tasks == 1


def test_the_same_version_again_counts_once() -> None:
    desk = _desk()
    desk.apply(make_case(1), MIDNIGHT)
    once = desk._model.now.sum()
    desk.apply(make_case(1), MIDNIGHT)
    assert desk._model.now.sum() == once == 1
    assert _of(desk.tick(MIDNIGHT + MINUTE)).open_tasks == 1


def test_a_reopened_case_is_open_but_no_new_arrival() -> None:
    desk = _desk()
    desk.apply(make_case(1), MIDNIGHT)
    desk.apply(make_case(1, version=2, state="resolved"), MIDNIGHT)
    desk.apply(make_case(1, version=3), MIDNIGHT)
    assert desk._model.now.sum() == 1
    assert _of(desk.tick(MIDNIGHT + MINUTE)).open_tasks == 1


@pytest.mark.parametrize(
    ("changes", "hours", "weighted"),
    [
        ({}, 0, 1.0),
        ({}, 24, 2.0),
        ({}, 1000, 4.0),
        ({"priority": 1}, 0, 4.0),
        ({"weight": 3.0}, 12, 4.5),
    ],
)
def test_demand_is_weighted_by_priority_age_and_reporters(
    changes: dict[str, Any], hours: float, weighted: float
) -> None:
    desk = DemandForecaster(DEMAND_SERVICES, make_city())
    desk.apply(make_case(1, **changes), MIDNIGHT)
    found = _of(desk.tick(MIDNIGHT + round(hours * HOUR) + MINUTE))
    assert found.weighted == pytest.approx(weighted, rel=0.002)


def test_pressure_is_null_without_units_and_falls_with_each_one() -> None:
    desk = _desk()
    for number in range(8):
        desk.apply(make_case(number), MIDNIGHT)
    now = MIDNIGHT + MINUTE
    alone = _of(desk.tick(now))
    assert (alone.pressure, alone.capacity_per_h) == (None, 0.0)
    pressures = []
    for number in range(3):
        desk.apply(make_unit(f"u{number}", now), now)
        desk.apply(make_case(100 + number), now)
        desk.apply(make_case(100 + number, version=2, state="rejected"), now)
        now += 16 * MINUTE
        found = _of(desk.tick(now))
        assert found.pressure is not None
        # An hour of a unit is one pothole: 48 minutes on site and 12 between two.
        assert found.capacity_per_h == pytest.approx(number + 1, rel=0.05)
        pressures.append(found.pressure)
    assert pressures[0] > pressures[1] > pressures[2] > 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "off_duty"},
        {"shift_end": MIDNIGHT},
        {"skills": ["tree"]},
        {"at": MIDNIGHT - 9 * HOUR},
    ],
    ids=["off duty", "shift over", "other skill", "not heard of"],
)
def test_units_that_cannot_come_are_no_capacity(changes: dict[str, Any]) -> None:
    desk = _desk()
    desk.apply(make_case(1), MIDNIGHT)
    desk.apply(make_unit("u1", MIDNIGHT, **changes), MIDNIGHT)
    assert _of(desk.tick(MIDNIGHT + MINUTE)).capacity_per_h == 0


def test_arrivals_are_learned_per_area_and_the_expectation_has_an_interval() -> None:
    desk = _desk()
    number = 0
    found: list[Demand] = []
    for hour in range(24 * 7):
        for minute in (10, 40):
            now = MIDNIGHT + hour * HOUR + minute * MINUTE
            found += desk.apply(make_case(number), now)
            found += desk.apply(make_case(number, version=2, state="resolved"), now)
            found += desk.tick(now + 5 * MINUTE)
            number += 1
    last = [d for d in found if (d.area, d.service) == ("west", "pothole")][-1]
    assert np.mean(last.expected) == pytest.approx(2, rel=0.2)
    assert len(last.expected) == len(last.expected_low) == len(last.expected_high) == 6
    assert all(
        low <= mean <= high
        for low, mean, high in zip(
            last.expected_low, last.expected, last.expected_high, strict=True
        )
    )
    assert last.open_tasks == 0


def test_news_come_once_a_minute_at_most_and_silence_is_kept_where_nothing_is() -> None:
    desk = _desk()
    desk.apply(make_case(1), MIDNIGHT + MINUTE)
    assert len(desk.tick(MIDNIGHT + 2 * MINUTE)) >= 1
    assert desk.tick(MIDNIGHT + 2 * MINUTE + 30_000) == []
    told = [desk.tick(MIDNIGHT + m * MINUTE) for m in range(3, 18)]
    assert [len(t) > 0 for t in told] == [False] * 14 + [True]
    assert {d.service for t in told for d in t} == {"pothole"}


def test_a_container_that_will_be_full_soon_is_to_be_collected() -> None:
    desk = _desk()
    desk.apply(make_bin(40, MIDNIGHT), MIDNIGHT)
    assert desk.tick(MIDNIGHT + MINUTE) == []
    desk.apply(make_bin(10, MIDNIGHT), MIDNIGHT + MINUTE)
    assert _of(desk.tick(MIDNIGHT + 2 * MINUTE), "bin_collection").open_tasks == 1
    desk.apply(make_bin(None, MIDNIGHT), MIDNIGHT + 3 * MINUTE)
    assert _of(desk.tick(MIDNIGHT + 4 * MINUTE), "bin_collection").open_tasks == 0


def _parking(expected: float) -> ParkingForecast:
    return ParkingForecast(
        sensor_key=9,
        area="west",
        sensor="p9",
        at=MIDNIGHT,
        total=100.0,
        free=20.0,
        ahead_min=30.0,
        expected=expected,
        low=0.0,
        high=20.0,
    )


def test_a_car_park_is_short_of_spaces_until_there_are_clearly_more() -> None:
    desk = _desk()
    told = []
    for minute, expected in enumerate([20.0, 2.0, 5.0, 7.0, 5.0], 1):
        desk.apply(_parking(expected), MIDNIGHT + minute * MINUTE)
        now = desk.tick(MIDNIGHT + minute * MINUTE + MINUTE)
        told.append([d.open_tasks for d in now if d.service == "parking_space"])
    assert told == [[], [1], [], [0], []]


def _anomaly(kind: str, value: float, state: str = "open") -> Anomaly:
    return Anomaly(
        id=f"{kind}/1",
        version=1,
        state=state,  # type: ignore[arg-type]
        kind=kind,
        area="east",
        sensor_key=1,
        sensor=None,
        measure="level",
        score=0.8,
        value=value,
        expected=1.0,
        low=0.9,
        high=1.1,
        started_at=MIDNIGHT,
        last_at=MIDNIGHT,
        window_end=MIDNIGHT,
        computed_at=MIDNIGHT,
    )


def test_what_is_unusual_in_water_and_energy_is_demand_by_how_far_it_is_off() -> None:
    desk = _desk()
    for kind, value in (("water", 1.1), ("energy", 1.7), ("noise", 5.0)):
        desk.apply(_anomaly(kind, value), MIDNIGHT)
    told = desk.tick(MIDNIGHT + MINUTE)
    water, power = (_of(told, s, "east") for s in ("water_network", "power_grid"))
    assert (water.open_tasks, power.open_tasks) == (1, 1)
    assert power.weighted == pytest.approx(3 * water.weighted, rel=0.01)
    assert {d.service for d in told} == {"water_network", "power_grid"}
    desk.apply(_anomaly("water", 1.0, "closed"), MIDNIGHT + MINUTE)
    assert _of(desk.tick(MIDNIGHT + 2 * MINUTE), "water_network", "east").open_tasks == 0


def _incident(state: str) -> Incident:
    return incident(
        id="s1/1",
        state=state,
        area="west",
        segment="s1",
        upstream_segment="s1",
        downstream_segment="s2",
        severity=0.7,
        queue_m=500.0,
        estimated_start=MIDNIGHT,
        first_evidence=MIDNIGHT,
        last_evidence=MIDNIGHT,
        window_end=MIDNIGHT,
        computed_at=MIDNIGHT,
    )


def test_a_confirmed_incident_is_demand_until_it_is_cleared() -> None:
    desk = _desk()
    told = []
    for minute, state in enumerate(["suspected", "confirmed", "clearing", "cleared"]):
        now = MIDNIGHT + minute * MINUTE
        desk.apply(_incident(state), now)
        told += desk.tick(now + MINUTE)
    assert [(d.service, d.open_tasks) for d in told] == [("road_incident", 1), ("road_incident", 0)]
    assert told[0].weighted == pytest.approx(2 * 4 * (1 + 2 / 30), rel=0.01)


def test_an_area_the_city_does_not_know_enters_and_a_foreign_service_does_not() -> None:
    desk = _desk()
    desk.apply(make_case(1, area="harbour"), MIDNIGHT)
    desk.apply(make_case(2, service="dragons"), MIDNIGHT)
    told = desk.tick(MIDNIGHT + MINUTE)
    assert [(d.area, d.service) for d in told] == [("harbour", "pothole")]
