"""Who is whose neighbour, by the road for detectors and by distance for all others."""

from __future__ import annotations

import numpy as np
import pytest

from civicstream.city import City
from civicstream.kinds import KINDS
from sensors_sim.city_plan import plan_city
from streams.health import SensorPlaces
from streams.health.places import NEIGHBOURS


@pytest.fixture(scope="module")
def city() -> City:
    return plan_city(3_000, 2)


def of_kind(city: City, kind: str) -> np.ndarray:
    return np.flatnonzero(city.sensors.kind == city.sensors.kind_names.index(kind))


def test_a_detectors_first_neighbours_are_on_its_own_segment(city: City) -> None:
    detectors = of_kind(city, "traffic")
    near = SensorPlaces(city, KINDS["traffic"]).neighbours(detectors)
    segment, corridor = city.sensors.segment, [s.corridor for s in city.segments]
    for own, others in zip(detectors[::37].tolist(), near[::37].tolist(), strict=True):
        known = [o for o in others if o >= 0]
        assert own not in known
        assert len(set(known)) == len(known)
        lanes = city.segments[segment[own]].lanes
        same = [o for o in known if segment[o] == segment[own]]
        assert len(same) <= lanes - 1
        assert known[: len(same)] == same
        assert {corridor[segment[o]] for o in known} <= {corridor[segment[own]]}
        away = [
            abs(city.segments[segment[o]].position - city.segments[segment[own]].position)
            for o in known
        ]
        assert away == sorted(away)
        assert max(away, default=0) <= 2


def test_other_sensors_neighbours_are_the_nearest_of_their_area(city: City) -> None:
    parking = of_kind(city, "parking")
    near = SensorPlaces(city, KINDS["parking"]).neighbours(parking)
    s = city.sensors
    for own, others in zip(parking[::11].tolist(), near[::11].tolist(), strict=True):
        here = [i for i in parking.tolist() if s.area[i] == s.area[own] and i != own]
        shrink = np.cos(np.radians(s.lat[own]))

        def away(i: int, own: int = own, shrink: float = shrink) -> float:
            return float(np.hypot((s.lon[i] - s.lon[own]) * shrink, s.lat[i] - s.lat[own]))

        expected = sorted(away(i) for i in here)[:NEIGHBOURS]
        assert [away(i) for i in others if i >= 0] == pytest.approx(expected, rel=1e-3)


def test_a_sensor_the_model_does_not_have_has_no_neighbours(city: City) -> None:
    for kind in KINDS.values():
        places = SensorPlaces(city, kind)
        unknown = places.find(np.array([12345], np.int64))
        assert unknown.tolist() == [-1]
        assert places.neighbours(unknown).tolist() == [[-1] * NEIGHBOURS]
        assert places.interval_s(unknown).tolist() == [kind.default_interval_s]
        assert np.isnan(places.lanes(unknown)).all()
        assert places.name(-1) is None


def test_a_city_without_anything_works_too() -> None:
    for kind in KINDS.values():
        places = SensorPlaces(City(), kind)
        assert places.neighbours(np.array([-1])).tolist() == [[-1] * NEIGHBOURS]
