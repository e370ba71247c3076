"""A demand desk restored from its items goes on exactly like one that never stopped."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.city import City
from civicstream.errors import DataError
from civicstream.service_events import Demand
from streams.dispatch.demand import DemandForecaster
from streams.dispatch.demand.forecaster import DemandEvent
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


def _events(seed: int, count: int) -> list[tuple[int, DemandEvent]]:
    rng = np.random.default_rng(seed)
    now, events = MIDNIGHT, list[tuple[int, DemandEvent]]()
    for number in range(count):
        now += int(rng.integers(1, 50)) * MINUTE
        kind = rng.integers(0, 4)
        area = ["west", "east", "harbour"][int(rng.integers(0, 3))]
        service = ["pothole", "leak"][int(rng.integers(0, 2))]
        old = int(rng.integers(0, number + 1))
        weight = float(rng.random())
        if kind <= 1:
            case = make_case(number, area=area, service=service, weight=weight, opened_at=now)
            events.append((now, case))
        elif kind == 2:
            events.append((now, make_case(old, version=2, state="resolved")))
        elif number % 2:
            events.append((now, make_unit(f"u{number % 5}", now, lon=5 + weight / 5)))
        else:
            full = float(rng.integers(1, 30))
            events.append((now, make_bin(full, now, sensor_key=number % 7, area=area)))
    return events


class _Life:
    def __init__(self, city: City) -> None:
        self.desk = DemandForecaster(DEMAND_SERVICES, city)
        self.stored: dict[str, bytes] = {}
        self.told: list[Demand] = []

    def step(self, now: int, event: DemandEvent) -> None:
        self.told += self.desk.apply(event, now)
        for key, data in self.desk.changed().items():
            if data is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = data


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.integers(0, 50))
def test_a_desk_restored_at_any_moment_goes_on_exactly(seed: int, crash: int) -> None:
    lasting, restored = _Life(make_city()), _Life(make_city())
    for number, (now, event) in enumerate(_events(seed, 50)):
        if number == crash:
            restored.desk = DemandForecaster(DEMAND_SERVICES, make_city())
            restored.desk.restore(dict(reversed(restored.stored.items())))
        lasting.step(now, event)
        restored.step(now, event)
    assert restored.told == lasting.told
    assert restored.stored == lasting.stored
    assert lasting.told


def test_what_was_learned_of_an_area_stays_with_it_when_the_city_is_drawn_anew() -> None:
    life = _Life(make_city())
    for hour in range(100):
        now = MIDNIGHT + hour * HOUR
        for number in range(3):
            case = make_case(1000 * hour + number, area="east", opened_at=now)
            life.step(now, case)
            life.step(now, make_case(1000 * hour + number, version=2, state="resolved"))
    areas = make_city().areas
    redrawn = City(tuple(reversed(areas)))
    desk = DemandForecaster(DEMAND_SERVICES, redrawn)
    desk.restore(life.stored)
    desk.apply(make_case(1, area="west"), MIDNIGHT + 101 * HOUR)
    desk.apply(make_case(2, area="east"), MIDNIGHT + 101 * HOUR)
    told = {d.area: d for d in desk.tick(MIDNIGHT + 101 * HOUR + MINUTE)}
    assert told["east"].arrivals_per_h > 3 * told["west"].arrivals_per_h


def test_items_stay_small_and_unchanged_ones_are_not_written() -> None:
    life = _Life(make_city())
    for now, event in _events(1, 60):
        life.step(now, event)
    now = MIDNIGHT + 1000 * HOUR
    unit = make_unit("u1", now)
    life.step(now, unit)
    life.desk.apply(msgspec.structs.replace(unit, at=now + 1000, lon=5.0151), now + 1000)
    assert life.desk.changed() == {}
    assert max(map(len, life.stored.values())) < 20_000


@pytest.mark.parametrize(
    "items",
    [{"dragon/1": b""}, {"clock": b"x"}, {"task/1": b"\x01"}, {"learned/pothole": b"x"}],
)
def test_what_is_no_state_of_a_desk_is_named(items: dict[str, bytes]) -> None:
    with pytest.raises(DataError, match=next(iter(items))):
        DemandForecaster(DEMAND_SERVICES, make_city()).restore(items)
