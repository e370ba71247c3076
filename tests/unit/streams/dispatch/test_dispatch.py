"""The city's desk passes on to each part what the others conclude."""

from __future__ import annotations

from collections import Counter

import msgspec

from civicstream.city import City
from civicstream.service_events import Allocation, Case, Report, Unit
from civicstream.services import load_services
from sensors_sim.city_plan import plan_city
from streams.dispatch.dispatch import Dispatch
from streams.runtime.records import Record

NOW = 1_767_600_000_000
HOUR = 3_600_000


def report(city: City, citizen: int = 0) -> Report:
    segment = city.segments[0]
    lon, lat = segment.line[0]
    return Report(
        id=f"r{citizen}",
        area=segment.area,
        service="pothole",
        lon=lon,
        lat=lat,
        description="a hole",
        reported_at=NOW,
        received_at=NOW,
        channel="mqtt",
        reporter=f"citizen-{citizen}",
        reference="1",
    )


def crew(city: City) -> Unit:
    lon, lat = city.segments[-1].line[0]
    area = city.segments[-1].area
    return Unit(
        id="crew",
        area=area,
        state="available",
        skills=["road"],
        lon=lon,
        lat=lat,
        shift_end=NOW + 8 * HOUR,
        capacity=5.0,
        load=0.0,
        at=NOW,
    )


def topics(records: list[Record]) -> Counter[str]:
    return Counter(record.topic for record in records)


def test_a_report_becomes_a_case_and_an_advice_to_send_a_crew() -> None:
    city = plan_city(60, 1)
    desk = Dispatch(load_services(), city)
    assert topics(desk.apply([crew(city)], NOW))["cases"] == 0
    (case,) = [r for r in desk.apply([report(city)], NOW) if r.topic == "cases"]
    made = [r for r in desk.tick(NOW + 1_000) if r.topic == "allocations"]
    advice = msgspec.json.decode(made[0].value, type=Allocation)
    assert advice.task == f"case/{msgspec.json.decode(case.value, type=Case).id}"
    assert (advice.unit, advice.state) == ("crew", "proposed")


def test_a_city_without_roads_keeps_its_cases_and_sends_nobody() -> None:
    city = plan_city(60, 1)
    desk = Dispatch(load_services(), City(city.areas))
    records = desk.apply([crew(city), report(city), report(city, 1)], NOW)
    records += desk.tick(NOW + 60_000)
    assert topics(records)["cases"] == 2
    assert topics(records)["allocations"] == 0


def test_a_desk_restored_from_its_items_goes_on_as_if_it_had_never_stopped() -> None:
    city = plan_city(60, 1)
    first = Dispatch(load_services(), city)
    first.apply([crew(city), report(city)], NOW)
    items = {key: value for key, value in first.changed().items() if value is not None}
    second = Dispatch(load_services(), city)
    second.restore(items)
    later = NOW + 60_000
    for desk in (first, second):
        assert topics(desk.apply([report(city)], later)) == {}, "the same report, sent again"
    outcome = [
        [(r.topic, r.value) for r in (*desk.apply([report(city, 1)], later), *desk.tick(later))]
        for desk in (first, second)
    ]
    assert outcome[0] == outcome[1]
    assert Counter(topic for topic, _ in outcome[0])["allocations"] == 1
