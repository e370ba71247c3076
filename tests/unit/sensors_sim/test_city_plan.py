"""A planned city has the sensors asked for, each where it belongs, the same for the same seed."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from civicstream.city import City, Sensors
from civicstream.errors import ConfigurationError
from civicstream.geojson import from_geojson, to_geojson
from civicstream.kinds import KINDS
from sensors_sim.city_plan import plan_city, sensors_per_kind


@pytest.fixture(scope="module", params=[20, 100, 3_000])
def city(request: pytest.FixtureRequest) -> City:
    return plan_city(request.param, seed=7)


def test_a_city_has_exactly_the_sensors_asked_for_and_every_kind(city: City) -> None:
    n = len(city.sensors)
    counts = Counter(Sensors.kind_names[k] for k in city.sensors.kind.tolist())
    assert n in {20, 100, 3_000}
    assert counts == sensors_per_kind(n)
    assert set(counts) == set(KINDS)
    assert counts["traffic"] > n / 2


def test_the_same_seed_plans_the_same_city_and_another_seed_another() -> None:
    assert to_geojson(plan_city(300, 5)) == to_geojson(plan_city(300, 5))
    assert to_geojson(plan_city(300, 5)) != to_geojson(plan_city(300, 6))


def test_a_planned_city_survives_geojson(city: City) -> None:
    again = from_geojson(to_geojson(city))
    assert again.areas == city.areas
    assert again.segments == city.segments
    assert np.array_equal(again.sensor_keys, city.sensor_keys)


def inside(point: tuple[float, float], ring: tuple[tuple[float, float], ...]) -> bool:
    """Ray casting (an oracle that knows nothing of how the city was made)."""
    x, y = point
    odd = False
    for (x1, y1), (x2, y2) in itertools.pairwise(ring):
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            odd = not odd
    return odd


def test_every_sensor_and_the_middle_of_every_segment_lie_in_their_area(city: City) -> None:
    s = city.sensors
    for lon, lat, area in zip(s.lon.tolist(), s.lat.tolist(), s.area.tolist(), strict=True):
        assert inside((lon, lat), city.areas[area].outline)
    for segment in city.segments:
        middle = np.mean(segment.line, axis=0)
        outline = city.areas[city.area_index[segment.area]].outline
        assert inside((float(middle[0]), float(middle[1])), outline)


def test_segments_follow_each_other_along_their_corridor(city: City) -> None:
    by_id = {s.id: s for s in city.segments}
    for segment in city.segments:
        for name in segment.downstream:
            after = by_id[name]
            assert (after.corridor, after.position) == (segment.corridor, segment.position + 1)
            assert after.upstream == (segment.id,)
            assert np.allclose(segment.line[-1], after.line[0], atol=2e-6)
    ends = Counter(s.corridor for s in city.segments if not s.downstream)
    assert set(ends.values()) == {1}
    assert set(ends) == {s.corridor for s in city.segments}


def test_every_detector_stands_on_a_segment_and_a_lane_of_it_once(city: City) -> None:
    s = city.sensors
    traffic = s.kind == Sensors.kind_names.index("traffic")
    assert np.all(s.segment[traffic] >= 0)
    assert np.all(s.segment[~traffic] == -1)
    places = list(zip(s.segment[traffic].tolist(), s.lane[traffic].tolist(), strict=True))
    assert len(set(places)) == len(places)
    for segment, lane in places:
        assert 0 <= lane <= city.segments[segment].lanes
    assert set(s.segment[traffic].tolist()) == set(range(len(city.segments)))


def test_lengths_are_those_of_the_lines(city: City) -> None:
    for segment in city.segments[:50]:
        (lon1, lat1), (lon2, lat2) = np.radians(segment.line)
        # Haversine on the mean sphere, independent of the plan's tangent plane.
        h = np.sin((lat2 - lat1) / 2) ** 2
        h += np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
        assert segment.length_m == pytest.approx(2 * 6_371_000 * np.arcsin(np.sqrt(h)), rel=0.005)


def test_too_few_sensors_for_all_kinds_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="--sensors 19"):
        plan_city(19, 1)
