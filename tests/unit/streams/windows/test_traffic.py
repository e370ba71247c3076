"""Traffic measures against plain loops, and the cases that formulas get wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream.city import Area, City, Segment, Sensors
from civicstream.kinds import KINDS, sensor_key
from streams.windows.traffic import SegmentTable, segment_measures
from streams.windows.windows import Columns
from tests.kit.window_oracle import Reading, traffic_of

T0 = 1_700_000_000_000
AREA = Area("a", "A", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)))
LINE = ((0.0, 0.0), (0.0, 1.0))
SEGMENTS = (
    Segment(
        id="free1",
        area="a",
        corridor="c",
        position=0,
        road_class="freeway",
        lanes=3,
        length_m=500.0,
        free_flow_kmh=100.0,
        line=LINE,
    ),
    Segment(
        id="free2",
        area="a",
        corridor="c",
        position=1,
        road_class="freeway",
        lanes=2,
        length_m=500.0,
        free_flow_kmh=110.0,
        line=LINE,
    ),
    Segment(
        id="street",
        area="a",
        corridor="d",
        position=0,
        road_class="street",
        lanes=1,
        length_m=200.0,
        free_flow_kmh=50.0,
        line=LINE,
    ),
)
DETECTORS = [("w1", 0, 0), ("w2", 0, 0), ("l1", 1, 1), ("l2", 1, 2), ("x1", 2, 0), ("x2", 2, 0)]
CITY = City(
    (AREA,),
    SEGMENTS,
    Sensors.from_rows([(i, 0, 0, s, lane, 20.0, 0.0, 0.0) for i, s, lane in DETECTORS]),
)
TABLE = SegmentTable(CITY)

measures = st.fixed_dictionaries(
    {"intensity": st.integers(0, 20).map(float), "period": st.sampled_from([20.0, 30.0, 60.0])},
    optional={
        "averageVehicleSpeed": st.integers(0, 130).map(float),
        "occupancy": st.floats(0, 1),
    },
)
readings = st.lists(
    st.tuples(
        st.just("a"),
        st.sampled_from([d[0] for d in DETECTORS]),
        st.integers(T0, T0 + 59_999),
        measures,
        st.just(1),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda r: (r[1], r[2]),
)


def columns(rows: list[Reading]) -> Columns:
    return Columns(
        np.array([sensor_key("traffic", r[0], r[1]) for r in rows], np.int64),
        np.array([r[2] for r in rows], np.int64),
        np.zeros(len(rows), np.int32),
        np.array([r[4] for r in rows], np.int64),
        {
            name: np.array([r[3].get(name, np.nan) for r in rows])
            for name in KINDS["traffic"].measure_names
        },
    )


def measured(rows: list[Reading]):  # type: ignore[no-untyped-def]
    result = segment_measures(columns(rows), TABLE)
    return {row.segment: row for rows in result.rows_by_area().values() for row in rows}


@given(readings)
def test_measures_equal_those_of_plain_loops(rows: list[Reading]) -> None:
    found = measured(rows)
    expected = traffic_of(rows, CITY)
    assert found.keys() == expected.keys()
    for segment, values in expected.items():
        for name, value in values.items():
            got = getattr(found[segment], name)
            if value is None:
                assert got is None, (segment, name)
            else:
                assert got == pytest.approx(value, rel=1e-6, abs=1e-5), (segment, name)


@given(readings, st.randoms())
def test_the_order_of_readings_does_not_matter(rows, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(rows)
    random.shuffle(shuffled)
    before, after = measured(rows), measured(shuffled)
    for segment, row in before.items():
        assert row.flow_veh_h == pytest.approx(after[segment].flow_veh_h)
        assert row.p85_speed_kmh == after[segment].p85_speed_kmh


def test_space_mean_speed_is_never_above_time_mean_speed() -> None:
    rows = [("a", "w1", T0 + i, {"intensity": 10.0, "period": 20.0, "averageVehicleSpeed": v}, 1)
            for i, v in enumerate((30.0, 60.0, 90.0))]  # fmt: skip
    row = measured(rows)["free1"]
    assert row.time_mean_speed_kmh == pytest.approx(60)
    assert row.space_mean_speed_kmh == pytest.approx(3 / (1 / 30 + 1 / 60 + 1 / 90), rel=1e-6)


def test_two_detectors_of_the_same_cross_section_do_not_count_vehicles_twice() -> None:
    one = {"intensity": 10.0, "period": 60.0, "averageVehicleSpeed": 80.0}
    row = measured([("a", "w1", T0, one, 1), ("a", "w2", T0, one, 1)])["free1"]
    assert row.flow_veh_h == pytest.approx(600)
    assert row.vehicles == pytest.approx(10)
    assert row.coverage == 1.0


def test_a_lane_without_detector_is_taken_as_the_others() -> None:
    one = {"intensity": 10.0, "period": 60.0, "averageVehicleSpeed": 80.0}
    row = measured([("a", "l1", T0, one, 1)])["free2"]
    assert row.flow_veh_h == pytest.approx(1200)
    assert row.coverage == 0.5


def test_a_stopped_queue_has_high_density_though_nothing_passes() -> None:
    stopped = {"intensity": 0.0, "period": 60.0, "averageVehicleSpeed": 0.0, "occupancy": 0.9}
    row = measured([("a", "w1", T0, stopped, 1)])["free1"]
    assert row.flow_veh_h == 0
    assert row.space_mean_speed_kmh is None
    assert row.density_veh_km_lane == pytest.approx(0.9 * 1000 / 6.7, rel=1e-6)
    assert row.level_of_service == "F"


def test_an_empty_road_has_density_zero_and_level_a() -> None:
    row = measured([("a", "w1", T0, {"intensity": 0.0, "period": 60.0}, 1)])["free1"]
    assert (row.density_veh_km_lane, row.level_of_service) == (0, "A")


def test_readings_of_unknown_sensors_are_counted_as_unplaced() -> None:
    known = ("a", "w1", T0, {"intensity": 1.0, "period": 60.0}, 1)
    unknown = ("a", "nobody", T0, {"intensity": 1.0, "period": 60.0}, 1)
    result = segment_measures(columns([known, unknown]), TABLE)
    assert result.unplaced_readings == 1
    assert result.readings.tolist() == [1]


def test_a_city_without_segments_places_nothing() -> None:
    rows = [("a", "w1", T0, {"intensity": 1.0, "period": 60.0}, 1)]
    result = segment_measures(columns(rows), SegmentTable(City()))  # type: ignore[arg-type]
    assert result.unplaced_readings == 1
    assert result.rows_by_area() == {}
