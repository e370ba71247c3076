"""What people send reaches the database as parameters, never as SQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.history.listings import Listing
from feeds.history.open_data import OPEN_INCIDENTS, OPEN_SEGMENTS, open_cases
from feeds.history.query import Span
from feeds.history.road_lists import ACCURACY, INCIDENTS, SEGMENTS, SENSORS
from feeds.history.service_lists import ALERTS, AUDIT, CASES, DEAD_LETTERS
from feeds.history.statements import Page, moment, page_statement
from feeds.history.windows import STEPS, area_windows, environment, segment_windows, whole_steps

LISTINGS = [
    SEGMENTS,
    SENSORS,
    INCIDENTS,
    CASES,
    ALERTS,
    AUDIT,
    DEAD_LETTERS,
    *ACCURACY.values(),
    *(
        made(step)
        for made in (segment_windows, area_windows, environment)
        for step in STEPS.values()
    ),
    OPEN_SEGMENTS,
    OPEN_INCIDENTS,
    open_cases(3),
]
HOSTILE = "'; DROP TABLE cases; --"


def places(statement: str) -> set[str]:
    return set(re.findall(r"%\((\w+)\)s", statement))


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.path)
def test_no_value_is_in_the_text_of_a_statement(listing: Listing) -> None:
    filters: dict[str, Any] = {one.name: [HOSTILE] for one in listing.filters}
    after = [
        HOSTILE if listing.column(k).type == "text" else 1_780_000_020_000 for k in listing.key
    ]
    relation = places(listing.relation) - {"from", "to"}
    values = {**dict.fromkeys(relation, HOSTILE), "from": moment(1), "to": moment(2)}
    box = (13.125, 52.125, 13.625, 52.625) if listing.place == "point" else None
    statement, given_values = page_statement(
        listing, Page(7, Span(1, 2), filters, after, box, values)
    )
    assert HOSTILE not in statement
    assert "13.125" not in statement
    assert places(statement) <= set(given_values)
    assert given_values["limit"] == 8


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.path)
def test_the_key_of_a_list_is_among_its_columns_and_never_null(listing: Listing) -> None:
    for name in listing.key:
        assert not listing.column(name).nullable
        assert listing.column(name).type in {"text", "int", "time"}


def test_what_is_alive_in_a_span_is_in_it_whenever_it_began() -> None:
    statement, values = page_statement(CASES, Page(1, Span(1_000, 2_000)))
    assert "h.opened_at < %(to)s" in statement
    assert "OR h.updated_at >= %(from)s" in statement
    assert values["to"] == datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)


@given(st.integers(0, 253_370_764_799_999))
def test_a_moment_keeps_its_milliseconds(at: int) -> None:
    made = moment(at)
    assert round(made.timestamp() * 1000) == at
    assert made.microsecond % 1000 == 0


@given(st.integers(0, 10**13), st.integers(1, 10**9), st.sampled_from(sorted(STEPS)))
def test_steps_are_whole_ones_that_begin_in_the_span(start: int, length: int, name: str) -> None:
    step, span = STEPS[name], Span(start, start + length)
    found = whole_steps(span, step)
    if name == "1m":  # the windows as they are
        assert found == span
        return
    assert found.start % step.width_ms == found.end % step.width_ms == 0
    assert 0 <= found.start - span.start < step.width_ms
    assert 0 <= found.end - span.end < step.width_ms


def test_open_data_has_neither_names_nor_text_that_people_wrote() -> None:
    private = {
        "description",
        "note",
        "changed_by",
        "latest_report",
        "confirmed_by",
        "reporters",
        "reporter",
        "reference",
        "decided_by",
        "acknowledged_by",
        "by",
    }
    for listing in (OPEN_SEGMENTS, OPEN_INCIDENTS, open_cases(3)):
        assert not private & {column.name for column in listing.columns}


def test_no_list_shows_a_reporter_or_what_a_client_called_a_report() -> None:
    for listing in LISTINGS:
        named = {column.name for column in listing.columns} | {f.name for f in listing.filters}
        assert not {"reporter", "reference", "address", "media_url"} & named
        assert "private." not in listing.relation
