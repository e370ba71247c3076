"""Answers have validators, say how long they keep, and are compressed where it is wanted."""

from __future__ import annotations

import gzip

import pytest

from feeds.history.answers import answer, cache_control, matches
from feeds.history.query import Span

NOW = 1_780_000_020_000
HOUR = 3_600_000
BODY = b'{"items":[]}'
LONG = b"x" * 10_000


def test_the_same_content_has_the_same_etag_and_other_content_another() -> None:
    tags = [answer(body, "text/csv", {}, {}).headers["etag"] for body in (BODY, BODY, LONG)]
    assert tags[0] == tags[1] != tags[2]
    assert not tags[0].startswith("W/")


def test_a_client_that_has_it_gets_304_without_a_body() -> None:
    etag = answer(BODY, "application/json", {}, {}).headers["etag"]
    again = answer(
        BODY, "application/json", {"if-none-match": etag}, {"cache-control": "private, max-age=5"}
    )
    assert (again.status_code, again.body) == (304, b"")
    assert again.headers["etag"] == etag
    assert again.headers["cache-control"] == "private, max-age=5"
    assert answer(LONG, "application/json", {"if-none-match": etag}, {}).status_code == 200


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        (None, False),
    ],
)
def test_if_none_match_may_list_several_or_weak_ones(given: str | None, same: bool) -> None:
    assert matches(given, '"a"') is same


def test_a_long_answer_is_compressed_with_an_etag_of_its_own() -> None:
    wanted = {"accept-encoding": "gzip, br"}
    packed, plain = answer(LONG, "text/csv", wanted, {}), answer(LONG, "text/csv", {}, {})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == LONG
    assert packed.headers["etag"] != plain.headers["etag"]
    assert "accept-encoding" in plain.headers["vary"]
    assert "content-encoding" not in answer(BODY, "text/csv", wanted, {}).headers


def test_what_is_settled_keeps_an_hour_and_what_is_open_five_seconds() -> None:
    assert cache_control(Span(0, NOW - HOUR), NOW) == "private, max-age=3600"
    assert cache_control(Span(0, NOW - HOUR + 1), NOW) == "private, max-age=5"
    assert cache_control(None, NOW, private=False) == "public, max-age=5"
