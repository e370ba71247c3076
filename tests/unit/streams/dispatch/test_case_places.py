"""The grid finds what a scan over all places would find, anywhere on earth."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.dispatch.cases.places import PlaceIndex, distance_m

NEAR_A_PLACE = st.tuples(st.floats(-0.02, 0.02), st.floats(-0.02, 0.02))


@settings(max_examples=150)
@given(
    st.sampled_from([(5.1, 52.1), (-70.0, -33.4), (179.995, -16.5), (-179.999, 66.0), (0.0, 0.0)]),
    st.lists(NEAR_A_PLACE, min_size=1, max_size=40),
    st.floats(10, 500),
    st.floats(0.2, 6),
)
def test_the_grid_finds_exactly_what_a_scan_finds(
    centre: tuple[float, float],
    moves: list[tuple[float, float]],
    cell_m: float,
    cells: float,
) -> None:
    radius_m = cells * cell_m
    lon, lat = centre
    places = {f"p{i}": ((lon + x + 180) % 360 - 180, lat + y) for i, (x, y) in enumerate(moves)}
    index = PlaceIndex(cell_m)
    for key, place in places.items():
        index.add(key, *place)
    scan = sorted(
        (away, key)
        for key, place in places.items()
        if (away := distance_m(lon, lat, *place)) <= radius_m
    )
    assert index.near(lon, lat, radius_m) == scan
    for key in places:
        index.remove(key)
    assert index.near(lon, lat, radius_m) == []
    assert len(index) == 0


def test_the_distance_of_a_degree_and_over_the_date_line() -> None:
    assert abs(distance_m(5, 52, 5, 53) - 111_195) < 1
    assert distance_m(179.9995, 0, -179.9995, 0) < 112
