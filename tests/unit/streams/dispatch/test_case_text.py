"""What is made of a citizen's text: safe to show, and perhaps a hint at another service."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream.services import load_services
from streams.dispatch.cases.suggestion import Suggester
from streams.dispatch.cases.text import clean_text
from tests.kit.case_making import make_case_processor, make_report, report_case


@given(st.text(st.characters(), max_size=200), st.integers(1, 50))
def test_clean_text_has_no_control_characters_fits_and_stays_as_it_is(text: str, most: int) -> None:
    clean, _ = clean_text(text, most)
    assert len(clean) <= most
    assert not [c for c in clean if c not in "\n\t" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0)]
    assert clean_text(clean, most) == (clean, [])
    clean.encode()  # no halves of surrogates


def test_ordinary_text_in_any_script_is_untouched() -> None:
    text = "Schlagloch vor Nr. 7\nपानी भर गया है 👨‍👩‍👧 مياه"
    assert clean_text(text, 4000) == (text, [])


def test_what_was_removed_is_said_in_the_case() -> None:
    desk = make_case_processor(max_description=10)
    case = report_case(desk, make_report(1, description="a\x00b\u202ec" + "d" * 20))
    assert case.description == "abc" + "d" * 7
    assert "2 control characters removed" in case.note
    assert "cut from 23 to 10" in case.note


@pytest.mark.parametrize(
    ("service", "text", "suggested"),
    [
        ("pothole", "Riesiges SCHLAGLOCH in der Straße", None),
        ("graffiti", "Riesiges Schlagloch in der Straße", "pothole"),
        ("pothole", "Überschwemmung im Keller", "flooding"),
        ("pothole", "une fuite d'eau", "water_leak"),
        ("road_sign", "the traffic signal is dark", "traffic_signal"),
        ("graffiti", "Guten Tag", None),
        ("noise", "something is broken here", None),
        ("noise", "", None),
        ("noise", "street", None),
        ("graffiti", "a tree fell, the sidewalk is blocked", None),
    ],
)
def test_only_a_text_that_clearly_speaks_of_another_service_suggests_it(
    service: str, text: str, suggested: str | None
) -> None:
    assert Suggester(load_services()).suggest(service, text) == suggested


def test_a_suggestion_is_shown_and_changes_nothing() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1, description="a burst pipe"))
    assert (case.service, case.agency, case.priority) == ("pothole", "pothole agency", 3)
    assert case.suggested_service == "leak"
    assert "the text speaks of leak" in case.note
