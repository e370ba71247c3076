"""Events of the result topics become items with an id, a place, and what filters ask for."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from civicstream.city import Area, City, Segment, Sensors
from civicstream.events import (
    Alert,
    EnvironmentResult,
    EnvironmentRow,
    ForecastRow,
    LedgerReport,
    SensorHealth,
    TrafficForecast,
    TrafficResult,
    TrafficRow,
)
from civicstream.kinds import sensor_key
from civicstream.topics import TOPICS
from feeds.live.event_items import EVENT_TYPES, decode_event, items_of
from feeds.live.item import LIVE_TOPICS, Item
from feeds.live.places import Box, Places
from tests.kit.citizen_events import allocation, case, demand, unit
from tests.kit.sink_events import anomaly, incident

RING = ((13.0, 52.0), (14.0, 52.0), (14.0, 53.0), (13.0, 53.0), (13.0, 52.0))
CITY = City(
    (Area("north", "North", RING),),
    (
        Segment(
            id="s1",
            area="north",
            corridor="A",
            position=0,
            road_class="street",
            lanes=1,
            length_m=500.0,
            free_flow_kmh=50.0,
            line=((13.0, 52.0), (13.2, 52.0), (13.2, 52.2)),
        ),
    ),
    Sensors.from_rows([("d1", 1, 0, -1, 0, 60.0, 13.5, 52.5)]),
)
PLACES = Places(CITY)
AIR = sensor_key("air", "north", "d1")


def made(event: msgspec.Struct) -> list[Item]:
    return list(items_of(event, PLACES))


def data(item: Item) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(item.data)
    assert decoded["id"] == item.id
    return decoded


def row(segment: str) -> TrafficRow:
    return TrafficRow(
        segment=segment,
        readings=3,
        vehicles=30.0,
        flow_veh_h=1800.0,
        time_mean_speed_kmh=None,
        space_mean_speed_kmh=48.0,
        p85_speed_kmh=60.0,
        occupancy=0.1,
        density_veh_km_lane=12.0,
        level_of_service="C",
        travel_time_index=1.2,
        coverage=1.0,
    )


def air() -> EnvironmentResult:
    return EnvironmentResult(
        kind="air",
        area="north",
        window_start=0,
        window_end=60_000,
        status="final",
        computed_at=61_000,
        readings=9,
        sensors=3,
        measures=[
            EnvironmentRow(
                measure="pm10", readings=8, sensors=2, mean=1.0, min=0.5, max=2.0, p95=1.9
            )
        ],
    )


def test_every_event_is_of_a_kafka_topic_and_together_they_fill_all_live_topics() -> None:
    assert set(EVENT_TYPES) <= set(TOPICS)
    events = [
        TrafficResult("north", 0, 60_000, "final", 61_000, [row("s1")]),
        air(),
        TrafficForecast("north", 60_000, [15], 61_000, [ForecastRow("s1", *[[1.0]] * 6)]),
        SensorHealth(
            sensor_key=AIR,
            kind="air",
            area="north",
            sensor="d1",
            health="stuck",
            reason="why",
            since=1,
            before="ok",
            window_end=2,
            computed_at=3,
        ),
        LedgerReport("sink", "a", 1, 2, {}),
        _alert(),
        incident(),
        anomaly(),
        case(),
        unit(),
        allocation(),
        demand(),
    ]
    assert {type(event) for event in events} == set(EVENT_TYPES.values())
    made_of_events = {item.topic for event in events for item in made(event)}
    assert made_of_events == set(LIVE_TOPICS) - {"status"}  # which the feed itself judges
    for event in events:
        for item in made(event):
            data(item)


def _alert(**change: Any) -> Alert:
    fields: dict[str, Any] = {
        "id": "a",
        "version": 2,
        "state": "active",
        "change": "raised",
        "rule": "r",
        "key": "k",
        "severity": "severe",
        "area": "north",
        "subject": "segment/s1",
        "headline": "h",
        "started_at": 1,
        "updated_at": 2,
        "computed_at": 3,
    }
    return Alert(**(fields | change))


def test_a_window_of_traffic_is_an_item_per_segment_halfway_along_its_line() -> None:
    first, second = made(
        TrafficResult("north", 0, 60_000, "provisional", 61_000, [row("s1"), row("unknown")])
    )
    assert first.order < made(TrafficResult("north", 0, 60_000, "final", 1, [row("s1")]))[0].order
    told = data(first)
    assert (told["lon"], told["lat"]) == pytest.approx((13.2, 52.0))
    assert told["status"] == "provisional"
    assert told["flow_veh_h"] == 1800.0
    assert told["time_mean_speed_kmh"] is None
    assert "segments" not in told
    assert first.box == Box(13.0, 52.0, 13.2, 52.2)
    assert "lon" not in data(second)
    assert second.box == Box(13.0, 52.0, 14.0, 53.0)  # somewhere in its area


def test_environment_counts_those_that_have_the_measure() -> None:
    result = air()
    (item,) = made(result)
    assert item.id == "north/air/pm10"
    assert (data(item)["readings"], data(item)["sensors"]) == (8, 2)


def test_sensors_are_placed_by_the_city_model() -> None:
    (item,) = made(
        SensorHealth(
            sensor_key=AIR,
            kind="air",
            area="north",
            sensor="d1",
            health="stuck",
            reason="why",
            since=1,
            before="ok",
            window_end=2,
            computed_at=3,
        )
    )
    assert (data(item)["lon"], data(item)["lat"]) == (13.5, 52.5)
    assert item.id == str(AIR)
    assert not item.closed
    (healthy,) = made(
        SensorHealth(
            sensor_key=AIR,
            kind="air",
            area="north",
            sensor="d1",
            health="ok",
            reason="why",
            since=1,
            before="stuck",
            window_end=2,
            computed_at=3,
        )
    )
    assert healthy.closed


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"lon": 1.0, "lat": 2.0}, (1.0, 2.0)),
        ({}, (13.2, 52.0)),
        ({"subject": f"sensor/{AIR}"}, (13.5, 52.5)),
        ({"subject": "sensor/none"}, None),
        ({"subject": "area/north"}, None),
    ],
)
def test_an_alert_is_where_it_says_or_where_its_subject_is(
    change: dict[str, Any], place: tuple[float, float] | None
) -> None:
    (item,) = made(_alert(**change))
    told = data(item)
    if place is None:
        assert told["lon"] is None
        assert item.box == Box(13.0, 52.0, 14.0, 53.0)
    else:
        assert (told["lon"], told["lat"]) == pytest.approx(place)


def test_what_has_come_to_its_end_is_closed() -> None:
    ended = [
        incident(state="cleared"),
        anomaly(state="closed"),
        _alert(state="cleared"),
        *(case(state=state) for state in ("resolved", "rejected", "duplicate")),
        *(allocation(state=s) for s in ("rejected", "overridden", "withdrawn", "completed")),
    ]
    assert all(item.closed for event in ended for item in made(event))
    going_on = [incident(state="clearing"), case(state="in_progress"), allocation(state="accepted")]
    assert not any(item.closed for event in going_on for item in made(event))


def test_what_is_no_event_is_refused() -> None:
    for value in (b"{}", b"\xff", b"[]", b'{"id": 1}'):
        with pytest.raises(msgspec.DecodeError):
            decode_event("cases", value)


def test_a_point_halfway_is_found_on_any_line() -> None:
    line = ((0.0, 0.0), (1.0, 0.0))
    city = City(
        (Area("a", "A", RING),),
        (
            Segment(
                id="x",
                area="a",
                corridor="A",
                position=0,
                road_class="street",
                lanes=1,
                length_m=1.0,
                free_flow_kmh=50.0,
                line=line,
            ),
        ),
    )
    assert Places(city).segment("x") == (0.5, 0.0)
    assert Places(city).route_box(["none"]) is None
    assert Places().sensor(int(np.int64(5))) is None
