"""Tables follow from the events' fields; of many events the newest of each key is found."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from civicstream.service_events import Unit
from sinks.event_tables import (
    ALLOCATIONS,
    CASES,
    DEMAND,
    HISTORIES,
    NEWEST,
    STORED_EVENTS,
    newest_of_each,
)
from sinks.histories import event_columns
from tests.kit.citizen_events import case, demand, unit

FAST = {"results.traffic", "results.environment", "forecasts"}
"""Topics whose events become many rows each."""


def test_every_event_that_is_one_row_has_a_table_with_a_column_per_field() -> None:
    assert {STORED_EVENTS[topic] for topic in STORED_EVENTS.keys() - FAST} == set(HISTORIES)
    for event, table in HISTORIES.items():
        assert table.columns == event.__struct_fields__
        assert set(table.key) < set(table.columns)


def test_the_types_of_columns_follow_from_the_fields() -> None:
    cases = dict(zip(CASES.columns, CASES.types, strict=True))
    assert cases["state"] == cases["breach"] == cases["duplicate_of"] == "text"
    assert cases["priority"] == cases["reports"] == "int4"
    assert cases["weight"] == "float8"
    assert cases["due_at"] == "timestamptz"
    assert cases["confirmed_by"] == "jsonb"
    demands = dict(zip(DEMAND.columns, DEMAND.types, strict=True))
    assert (demands["pressure"], demands["expected"]) == ("float8", "jsonb")
    assert dict(zip(ALLOCATIONS.columns, ALLOCATIONS.types, strict=True))["route"] == "jsonb"


def test_nothing_is_null_and_a_list_is_its_json() -> None:
    columns = dict(
        zip(CASES.columns, event_columns([case(latest_report=None)], CASES), strict=True)
    )
    assert columns["latest_report"] == [None]
    assert json.loads(columns["confirmed_by"][0]) == case().confirmed_by
    pressure = event_columns([demand(), demand(pressure=2.0)], DEMAND)[-1]
    assert str(pressure.tolist()) == "[nan, 2.0]"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=30))
def test_the_newest_of_each_unit_is_its_latest_and_of_two_the_first(
    reports: list[tuple[str, int]],
) -> None:
    sent = [unit(id=id_, at=at, load=float(n)) for n, (id_, at) in enumerate(reports)]
    table = NEWEST[Unit]
    wanted = {id_: max(u.at for u in sent if u.id == id_) for id_ in {u.id for u in sent}}
    firsts = [next(u for u in sent if (u.id, u.at) == newest) for newest in wanted.items()]
    assert sorted(newest_of_each(sent, table), key=str) == sorted(firsts, key=str)
