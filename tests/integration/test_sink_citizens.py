"""What the sink makes of reports, cases, crews, allocations, demand and decisions."""

from __future__ import annotations

import asyncio
import random
import string
from typing import Any

import msgspec

from feeds.open311.filters import RequestFilter
from feeds.report_store import ReportStore
from sinks.event_tables import (
    ACTIONS,
    ALLOCATIONS,
    BIN_FORECASTS,
    CASES,
    DEMAND,
    PARKING_FORECASTS,
    REPORTS,
    TOURS,
    UNITS,
)
from tests.kit.citizen_events import (
    action,
    allocation,
    bin_forecast,
    case,
    demand,
    parking_forecast,
    report,
    tour,
    unit,
)
from tests.kit.sink_events import AT, MINUTE
from tests.kit.sink_rows import Loader, as_role, loader

SAMPLES: dict[str, tuple[Any, list[msgspec.Struct]]] = {
    "reports": (
        REPORTS,
        [report(), report(id="r2", address=None, media_url=None, attributes={})],
    ),
    "cases": (
        CASES,
        [case(), case(version=2, latest_report=None, confirmed_by=[], duplicate_of="c0")],
    ),
    "units": (UNITS, [unit(), unit(at=AT + MINUTE, task=None, skills=[])]),
    "allocations": (ALLOCATIONS, [allocation(), allocation(version=2, route=[], alternatives=[])]),
    "demand": (DEMAND, [demand(), demand(at=AT + MINUTE, pressure=1.5, expected=[])]),
    "actions": (ACTIONS, [action(), action(id="x2", value=None, note="")]),
    "bins": (
        BIN_FORECASTS,
        [
            bin_forecast(),
            bin_forecast(at=AT + MINUTE, sensor=None, lon=None, lat=None, predicted_full_at=None),
        ],
    ),
    "parking": (PARKING_FORECASTS, [parking_forecast(), parking_forecast(at=AT + 1, sensor=None)]),
    "tours": (TOURS, [tour(), tour(version=2, state="finished", stops=[])]),
}
"""Topic -> table, events whose optional fields are there or not."""

CHANGED: dict[str, msgspec.Struct] = {
    "reports": report(description="other"),
    "cases": case(state="resolved"),
    "units": unit(state="off_duty"),
    "allocations": allocation(state="accepted"),
    "demand": demand(open_tasks=99),
    "actions": action(action="resolve"),
    "bins": bin_forecast(level=0.1),
    "parking": parking_forecast(free=1.0),
    "tours": tour(state="withdrawn"),
}
"""Topic -> an event with the key of the first sample, and another value."""


def send(loaded: Loader, topic: str, *events: msgspec.Struct) -> dict[str, int]:
    """Write the events as one batch; return the new rows per table."""
    records = [loaded.record(f"city.{topic}", msgspec.json.encode(e), []) for e in events]
    return loaded.write(*records).events


def read_back(loaded: Loader, table: Any) -> list[dict[str, Any]]:
    """Return the rows as the events' fields, times as epoch ms."""
    order = ", ".join(table.key)
    rows = loaded.seen_by_reader(
        f"SELECT {', '.join(table.columns)} FROM {table.name} ORDER BY {order}"
    )
    return [
        {
            name: round(value.timestamp() * 1000) if value and of == "timestamptz" else value
            for name, of, value in zip(table.columns, table.types, row, strict=True)
        }
        for row in rows
    ]


def fields(event: msgspec.Struct) -> dict[str, Any]:
    """Return all fields as JSON has them, also those that are as by default."""
    whole: dict[str, Any] = msgspec.to_builtins(msgspec.structs.asdict(event))
    return whole


def test_every_event_reads_back_as_it_was_sent_and_once_however_often_it_comes(
    database: str,
) -> None:
    with loader(database) as loaded:
        for topic, (table, events) in SAMPLES.items():
            assert send(loaded, topic, *events, events[0], CHANGED[topic]) == {table.name: 2}
            assert send(loaded, topic, CHANGED[topic], *events) == {table.name: 0}
            assert read_back(loaded, table) == [fields(event) for event in events], topic


def test_the_newest_place_of_a_unit_and_demand_of_an_area_are_never_set_back(
    database: str,
) -> None:
    with loader(database) as loaded:
        send(
            loaded,
            "units",
            unit(at=AT + 2 * MINUTE, state="on_site"),
            unit(at=AT + MINUTE),
            unit(id="u2"),
        )
        send(loaded, "units", unit(at=AT), unit(id="u2", at=AT + MINUTE, state="available"))
        send(loaded, "units", unit(at=AT + 2 * MINUTE, state="off_duty"))  # the first one stays
        send(loaded, "demand", demand(at=AT + MINUTE, open_tasks=5), demand(open_tasks=4))
        send(loaded, "demand", demand(at=AT - MINUTE), demand(area="south", at=AT - MINUTE))
        units = loaded.seen_by_reader("SELECT id, state FROM units_current ORDER BY id")
        assert units == [("u1", "on_site"), ("u2", "available")]
        wants = loaded.seen_by_reader("SELECT area, open_tasks FROM demand_current ORDER BY area")
        assert wants == [("north", 5), ("south", 3)]
        assert loaded.rows("SELECT count(*) FROM units") == [(5,)]


def test_current_cases_and_allocations_are_their_newest_versions(database: str) -> None:
    with loader(database) as loaded:
        send(
            loaded,
            "cases",
            case(version=10, state="resolved"),
            case(version=9),
            case(id="c2", version=1),
        )
        send(loaded, "allocations", allocation(version=2, state="accepted"), allocation())
        cases = loaded.seen_by_reader("SELECT id, version, state FROM cases_current ORDER BY id")
        assert cases == [("c1", 10, "resolved"), ("c2", 1, "received")]
        current = "SELECT id, version, state FROM allocations_current"
        assert loaded.seen_by_reader(current) == [("a1", 2, "accepted")]


def test_tours_are_summed_up_by_day_and_full_containers_are_shown(database: str) -> None:
    done = tour().stops[1]
    with loader(database) as loaded:
        end = {"state": "finished", "km_driven": 11.5, "stops": [done, done]}
        send(loaded, "tours", tour(), tour(version=2, **end))
        send(loaded, "tours", tour(id="other"), tour(id="third", state="withdrawn", km_driven=1.0))
        current = "SELECT id, version FROM tours_current ORDER BY id"
        assert loaded.seen_by_reader(current) == [("other", 1), ("third", 1), ("truck-1-7", 2)]
        days = "SELECT tours, emptied, km_driven, overflow_h FROM collection_by_day"
        assert loaded.seen_by_reader(days) == [(2, 3, 12.5, 0.4)]
        send(loaded, "bins", bin_forecast(), bin_forecast(sensor_key=5, predicted_full_at=AT))
        full = bin_forecast(sensor_key=5, at=AT + MINUTE, predicted_full_at=AT + MINUTE)
        send(loaded, "bins", full)
        shown = "SELECT sensor_key, at - full_since FROM containers_overflowing"
        ((key, since),) = loaded.seen_by_reader(shown)
        assert (key, since.total_seconds()) == (5, 60)
        send(loaded, "bins", bin_forecast(sensor_key=5, at=AT + 2 * MINUTE))
        assert loaded.seen_by_reader(shown) == []
        assert loaded.seen_by_reader("SELECT count(*) FROM bins_current") == [(2,)]


def test_a_report_has_its_case_whichever_of_the_two_comes_first(database: str) -> None:
    with loader(database) as loaded:
        link = "SELECT id, case_id FROM reports ORDER BY id"
        send(loaded, "reports", report(), report(id="r2"))
        assert loaded.seen_by_reader(link) == [("r1", None), ("r2", None)]
        send(loaded, "cases", case(), case(id="c3", latest_report="r3"))
        send(loaded, "cases", case(version=2, latest_report="r2"))
        send(loaded, "cases", case(version=3, latest_report=None, state="resolved"))
        send(loaded, "reports", report(id="r3"))
        assert loaded.seen_by_reader(link) == [("r1", "c1"), ("r2", "c1"), ("r3", "c3")]


def test_open311_finds_reports_with_the_present_state_of_their_cases(postgres: str) -> None:
    with loader(postgres) as loaded:
        send(loaded, "reports", report(), report(id="r2", service="noise"), report(id="r3"))
        send(loaded, "cases", case(), case(version=2, latest_report=None, state="resolved"))
        send(loaded, "cases", case(id="c3", latest_report="r3"))

        async def found(**wanted: Any) -> dict[str, str | None]:
            store = ReportStore(as_role(postgres, "civicstream_reader"))
            await store.open()
            try:
                requests = await store.find(RequestFilter(**wanted))
            finally:
                await store.close()
            return {r.id: r.state for r in requests}

        everything = {"r1": "resolved", "r2": None, "r3": "received"}
        assert asyncio.run(found(ids=tuple(everything))) == everything
        assert asyncio.run(found(statuses=("closed",))) == {"r1": "resolved"}
        assert asyncio.run(found(statuses=("open",))) == {"r2": None, "r3": "received"}
        assert asyncio.run(found(services=("noise",))) == {"r2": None}


TOO_LONG = "".join(random.Random(1).choices(string.ascii_letters, k=9_000))
"""Longer than an index entry may be, also after compression."""

REFUSED: dict[str, msgspec.Struct] = {
    "reports": report(id=TOO_LONG),
    "cases": case(id="c9", reports=2**31),
    "units": unit(id="u9", at=2**70),
    "allocations": allocation(id="a9", arrival_at=-(2**62)),
    "demand": demand(service="other", open_tasks=2**40),
    "bins": bin_forecast(sensor_key=9, full_low=-(2**62)),
    "parking": parking_forecast(sensor_key=9, at=2**62),
    "tours": tour(id="t9", ends_at=-(2**62)),
    "actions": action(id=TOO_LONG),
}


def test_a_row_the_database_does_not_take_is_one_dead_letter_and_the_rest_is_written(
    database: str,
) -> None:
    with loader(database) as loaded:
        for topic, (table, events) in SAMPLES.items():
            loaded.dead_letters.clear()
            assert send(loaded, topic, events[0], REFUSED[topic], events[1]) == {table.name: 2}
            (dead_letter,) = loaded.dead_letters
            assert (dead_letter.reason, dead_letter.topic) == ("refused_by_database", table.name)
        assert loaded.rows("SELECT id FROM units_current") == [("u1",)]


def test_a_nul_in_an_answer_or_a_name_does_not_stop_the_batch(postgres: str) -> None:
    with loader(postgres) as loaded:
        odd = {"a\0b": ["x\0", "\\u0000 as it was typed"]}
        send(loaded, "reports", report(attributes=odd), report(id="r2", description="a\0b"))
        ((answers,), (plain,)) = loaded.seen_by_reader("SELECT attributes FROM reports ORDER BY id")
        lost = "\N{REPLACEMENT CHARACTER}"
        assert answers == {f"a{lost}b": [f"x{lost}", "\\u0000 as it was typed"]}
        assert plain == report().attributes
        assert loaded.dead_letters == []
