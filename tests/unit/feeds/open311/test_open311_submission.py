"""A POSTed form as a submission."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from civicstream.city import Area
from civicstream.errors import ConfigurationError
from civicstream.report_making import Submission
from civicstream.settings import FeedsSettings
from feeds.api_keys import key_digest, key_name, load_api_keys
from feeds.areas import AreaFinder
from feeds.open311.errors import Open311Error
from feeds.open311.submission import read_form, read_submission

NOW = 1_795_282_800_000

# The body of the specification's example request.
EXAMPLE = (
    b"api_key=xyz&jurisdiction_id=city.gov&service_code=001&lat=37.76524078&long=-122.4212043"
    b"&address_string=1234+5th+street&email=smit333%40sfgov.edu&device_id=tt222111"
    b"&account_id=123456&first_name=john&last_name=smith&phone=111111111"
    b"&description=A+large+sinkhole+is+destroying+the+street"
    b"&media_url=http%3A%2F%2Ffarm3.static.flickr.com%2F2002%2F2212426634_5ed477a060.jpg"
    b"&attribute[WHISPAWN]=123456&attribute[WHISDORN]=COISL001"
)


def _submission(now: int = NOW, key: str | None = None, **change: str) -> Submission:
    fields = {"service_code": "pothole", "lat": "52.5", "long": "13.4"} | change
    return read_submission(read_form(urlencode(fields).encode()), key, now)


def test_the_specifications_example_is_read_in_full() -> None:
    sent = read_submission(read_form(EXAMPLE), None, NOW)
    assert sent.service == "001"
    assert sent.place == (-122.4212043, 37.76524078)
    assert sent.address == "1234 5th street"
    assert sent.description == "A large sinkhole is destroying the street"
    assert sent.identity == "open311:device_id:tt222111"
    assert sent.person["email"] == "smit333@sfgov.edu"
    assert sent.answers == {"WHISPAWN": ["123456"], "WHISDORN": ["COISL001"]}
    assert sent.media_url is not None
    assert sent.media_url.endswith("2212426634_5ed477a060.jpg")


def test_an_attribute_may_have_several_values() -> None:
    form = read_form(b"attribute[A][]=1&attribute[A][]=2&attribute%5BA%5D%5B%5D=3&attribute[B]=4")
    assert form.attributes == {"A": ["1", "2", "3"], "B": ["4"]}


@pytest.mark.parametrize(
    ("fields", "identity"),
    [
        ({"account_id": "a", "email": "e@x.org"}, "open311:account_id:a"),
        ({"email": "Ada@X.org", "phone": "1"}, "open311:email:ada@x.org"),
        ({"phone": "+49 (30) 12-34"}, "open311:phone:49301234"),
    ],
)
def test_a_reporter_is_known_by_the_steadiest_that_was_given(
    fields: dict[str, str], identity: str
) -> None:
    assert _submission(**fields).identity == identity


def test_reporters_who_say_nothing_of_themselves_are_different_ones() -> None:
    one, two = _submission(description="a"), _submission(description="b")
    assert one.identity.startswith("open311:anonymous:")
    assert one.identity != two.identity


def test_a_reference_is_the_clients_own_or_the_same_for_the_same_form_within_a_while() -> None:
    assert _submission(key="k1").reference == "k1"
    assert _submission(reference="r1").reference == "r1"
    first = _submission().reference
    assert _submission(now=NOW + 60_000).reference == first
    assert _submission(now=NOW + 3_600_000).reference != first
    assert _submission(description="other").reference != first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"service_code": " "}, "service_code was not provided"),
        ({"lat": "", "long": ""}, "no location was provided"),
        ({"long": ""}, "sent together"),
        ({"lat": "52,5"}, "decimal degrees"),
    ],
)
def test_what_the_specification_requires_is_asked_for(change: dict[str, str], words: str) -> None:
    with pytest.raises(Open311Error) as caught:
        _submission(**change)
    assert caught.value.status == 400
    assert words in caught.value.description


@pytest.mark.parametrize("body", [b"a=%ff", b"a=\xff", b"&".join([b"a=1"] * 201)])
def test_a_form_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(Open311Error):
        read_form(body)


def test_a_place_is_found_in_its_district_also_in_a_concave_one() -> None:
    horseshoe = ((0.0, 0.0), (3.0, 0.0), (3.0, 3.0), (2.0, 3.0), (2.0, 1.0), (1.0, 1.0))
    finder = AreaFinder(
        [
            Area("shoe", "", (*horseshoe, (1.0, 3.0), (0.0, 3.0), (0.0, 0.0))),
            Area("gap", "", ((1.0, 1.0), (2.0, 1.0), (2.0, 3.0), (1.0, 3.0), (1.0, 1.0))),
        ]
    )
    places: dict[tuple[float, float], Any] = {
        (0.5, 2.5): "shoe",
        (1.5, 2.5): "gap",
        (2.5, 2.5): "shoe",
        (1.5, 0.5): "shoe",
        (1.5, 3.5): None,
        (-1.0, 0.5): None,
    }
    assert {place: finder.find(place) for place in places} == places


def test_api_keys_come_from_settings_and_file_and_only_their_hash_is_known(tmp_path: Any) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# apps\nsecond:{key_digest('k2').upper()}\n\n", "utf-8")
    settings = FeedsSettings(api_keys=f"first:{key_digest('k1')}", api_keys_file=file)
    keys = load_api_keys(settings)
    assert [key_name(keys, key) for key in ("k1", "k2", "k3", key_digest("k1"))] == [
        "first",
        "second",
        None,
        None,
    ]
    file.write_text("second:k2\n", "utf-8")
    with pytest.raises(ConfigurationError, match="line 1: expected name:SHA-256"):
        load_api_keys(settings)


def test_who_wants_to_be_told_says_so_in_fields_of_our_own() -> None:
    def wish(**more: str) -> str | None:
        form = urlencode({"service_code": "a", "lat": "1", "long": "1"} | more)
        return read_submission(read_form(form.encode()), None, 0).person["notify"]

    assert wish() is None
    assert wish(notify_by_email="false") is None
    assert wish(notify_by_email="true") == "email"
    assert wish(notify_url="https://a.example/x", notify_by_email="1") == "https://a.example/x"
