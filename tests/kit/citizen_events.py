"""Events of reports, cases and crews for the sink's tests: valid ones, to change a field of."""

from __future__ import annotations

from civicstream.service_events import (
    Action,
    Allocation,
    Alternative,
    BinForecast,
    Case,
    Demand,
    ParkingForecast,
    PersonalRecord,
    Report,
    Tour,
    TourStop,
    Unit,
)
from tests.kit.sink_events import AT, MINUTE, example

SOMEONE, OTHER = "5" * 32, "0" * 31 + "7"
"""Pseudonyms."""


report = example(
    Report(
        id="r1",
        area="north",
        service="pothole",
        lon=13.4,
        lat=52.5,
        description="deep",
        reported_at=AT - MINUTE,
        received_at=AT,
        channel="mqtt",
        reporter=SOMEONE,
        reference="17",
        address="Long Road 5",
        media_url="https://example.org/p.jpg",
        attributes={"depth": ["10"], "where": ["lane", "kerb"]},
    )
)

case = example(
    Case(
        id="c1",
        version=1,
        state="received",
        area="north",
        service="pothole",
        agency="Roads",
        priority=2,
        lon=13.4,
        lat=52.5,
        description="deep",
        reports=1,
        reporters=1,
        weight=1.5,
        opened_at=AT,
        updated_at=AT,
        due_at=AT + 600 * MINUTE,
        changed_by="system",
        note="reported",
        latest_report="r1",
        confirmed_by=["sensor/7", "incident/i1"],
    )
)

unit = example(
    Unit(
        id="u1",
        area="north",
        state="en_route",
        skills=["road", "tow"],
        lon=13.4,
        lat=52.5,
        shift_end=AT + 300 * MINUTE,
        capacity=4.0,
        load=1.0,
        at=AT,
        task="case/c1",
    )
)

allocation = example(
    Allocation(
        id="a1",
        version=1,
        state="proposed",
        policy="optimal",
        task="case/c1",
        unit="u1",
        area="north",
        priority=1,
        proposed_at=AT,
        arrival_at=AT + 9 * MINUTE,
        route=["s1", "s2"],
        reason="there first",
        alternatives=[Alternative("u2", AT + 12 * MINUTE, 6.0)],
        decided_by="system",
        decided_at=AT,
    )
)

demand = example(
    Demand(
        area="north",
        service="pothole",
        at=AT,
        open_tasks=3,
        weighted=7.5,
        arrivals_per_h=1.2,
        expected=[1.0, 2.5],
        expected_low=[0.0, 1.0],
        expected_high=[2.0, 4.0],
        capacity_per_h=0.0,
        pressure=None,
    )
)

action = example(
    Action(
        id="x1",
        subject="case/c1",
        action="acknowledge",
        area="north",
        by="operator-3",
        at=AT,
        note="seen",
        value="u1",
    )
)

personal = example(PersonalRecord(SOMEONE, AT, "r1", "sealed-1"))

bin_forecast = example(
    BinForecast(
        sensor_key=-(2**62),
        area="north",
        sensor="waste-1",
        lon=13.4,
        lat=52.5,
        at=AT,
        level=0.8,
        fill_per_h=0.01,
        emptied_at=AT - 60 * MINUTE,
        predicted_full_at=AT + 600 * MINUTE,
        full_low=AT + 500 * MINUTE,
        full_high=AT + 800 * MINUTE,
    )
)

parking_forecast = example(
    ParkingForecast(
        sensor_key=2**62,
        area="north",
        sensor="parking-1",
        at=AT,
        total=100.0,
        free=17.0,
        ahead_min=30.0,
        expected=12.5,
        low=8.0,
        high=16.0,
    )
)

tour = example(
    Tour(
        id="truck-1-7",
        version=1,
        state="planned",
        unit="truck-1",
        area="north",
        planned_at=AT,
        updated_at=AT,
        ends_at=AT + 60 * MINUTE,
        stops=[
            TourStop(
                sensor_key=7,
                sensor="waste-1",
                lon=13.4,
                lat=52.5,
                arrival_at=AT + 9 * MINUTE,
                predicted_full_at=AT - MINUTE,
                load=0.9,
            ),
            TourStop(
                sensor_key=8,
                sensor=None,
                lon=13.5,
                lat=52.5,
                arrival_at=AT + 19 * MINUTE,
                predicted_full_at=AT + 99 * MINUTE,
                load=0.8,
                emptied_at=AT,
            ),
        ],
        capacity=40.0,
        load=1.7,
        km=12.5,
        km_driven=0.0,
        overflow_h=0.2,
        note="two containers",
    )
)
