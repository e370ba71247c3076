"""A cursor leads to the next page of its own query and to nothing else."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.history.pages import Cursor, fingerprint, read_cursor, write_cursor
from feeds.problems import Problem

QUERY = {"area": "north", "limit": "5"}
PRINT = fingerprint("/cases", QUERY)
KEYS = st.tuples(
    st.integers(0, 2**62), st.text(st.characters(codec="utf-8", exclude_characters="\0"))
)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")


def read(text: str, query: dict[str, str] = QUERY) -> Cursor | None:
    return read_cursor({**query, "cursor": text}, "/cases", (int, str))


@given(KEYS)
def test_a_cursor_reads_back_as_it_was_written(key: tuple[int, str]) -> None:
    cursor = Cursor(PRINT, 1, 2, list(key))
    assert read(write_cursor(cursor)) == cursor


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_any_other_text_is_refused_as_a_parameter(text: str) -> None:
    with pytest.raises(Problem) as caught:
        read(text)
    assert caught.value.status == 400
    assert caught.value.more["parameter"] == "cursor"


@pytest.mark.parametrize(
    "value",
    [
        [PRINT, 1, 2, ["7", "c1"]],
        [PRINT, 1, 2, [7]],
        [PRINT, 1, 2, [7, "c1", 3]],
        [PRINT, 1, 2, [7, "a\0"]],
        [PRINT, 1, 2, [2**63, "c1"]],
        [PRINT, 2, 1, [7, "c1"]],
        [PRINT, -1, 1, [7, "c1"]],
        [PRINT, 0, 10**18, [7, "c1"]],
        ["0" * 16, 1, 2, [7, "c1"]],
        {"query": PRINT},
    ],
)
def test_a_cursor_with_a_key_of_another_shape_or_query_is_refused(value: Any) -> None:
    with pytest.raises(Problem):
        read(encoded(value))


def test_a_cursor_goes_on_with_another_limit_but_not_with_another_filter() -> None:
    text = write_cursor(Cursor(PRINT, 1, 2, [7, "c1"]))
    assert read(text, {"area": "north", "limit": "500", "format": "csv"})
    with pytest.raises(Problem, match="another query"):
        read(text, {"area": "south"})
