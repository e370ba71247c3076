"""The form of an answer follows `format`, or else the Accept header."""

from __future__ import annotations

import pytest

from feeds.history.answers import Format, choose_format
from feeds.problems import Problem

OFFERED: tuple[Format, ...] = ("json", "csv", "arrow")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("text/csv", "csv"),
        ("text/*", "csv"),
        ("application/json;q=0.5, text/csv", "csv"),
        ("application/vnd.apache.arrow.stream, application/json;q=0.1", "arrow"),
        ("application/json;q=0, */*", "csv"),
        ("Text/CSV ; q=0.3 , application/json ; q=0.2", "csv"),
    ],
)
def test_the_best_of_what_is_accepted_is_chosen(accept: str, chosen: Format) -> None:
    assert choose_format({}, accept, OFFERED) == chosen


def test_the_parameter_outweighs_the_header() -> None:
    assert choose_format({"format": "csv"}, "application/json", OFFERED) == "csv"


@pytest.mark.parametrize(
    "accept", ["application/xml", "application/json;q=0", "application/geo+json"]
)
def test_what_is_not_to_be_had_is_406_with_the_choices(accept: str) -> None:
    with pytest.raises(Problem) as caught:
        choose_format({}, accept, OFFERED)
    assert caught.value.status == 406
    assert "text/csv" in caught.value.detail


def test_a_form_that_this_path_lacks_is_406_and_an_unknown_one_400() -> None:
    for form, status in (("geojson", 406), ("xlsx", 400)):
        with pytest.raises(Problem, match="json, csv, arrow") as caught:
            choose_format({"format": form}, "", OFFERED)
        assert caught.value.status == status
