"""What a foreign page can make a browser send is told apart from our own page and from programs."""

from __future__ import annotations

import pytest

from civicstream.errors import ConfigurationError
from feeds.access.callers import is_open, needed_scope
from feeds.access.cors import allow_headers, parse_origins, preflight_headers
from feeds.access.origins import address_key, forgery, is_loopback, is_loopback_host

OURS = "city.example"


def headers(**more: str) -> dict[str, str]:
    return {"host": OURS, "content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in more.items()
    }


@pytest.mark.parametrize(
    "sent",
    [
        headers(),
        headers(origin="https://city.example"),
        headers(origin="https://city.example:443", sec_fetch_site="same-origin"),
        headers(origin="http://[::1]:8311", host="[::1]:8311"),
        headers(content_type="application/json; charset=utf-8"),
        headers(sec_fetch_site="none"),
    ],
)
def test_our_own_page_and_programs_may_post(sent: dict[str, str]) -> None:
    assert forgery(sent, "POST") is None


@pytest.mark.parametrize(
    "sent",
    [
        headers(origin="https://evil.example"),
        headers(origin="https://city.example.evil.example"),
        headers(origin="https://city.example:8443"),
        headers(origin="null"),
        headers(origin=""),
        headers(origin="https://city.example:99999"),
        headers(sec_fetch_site="cross-site"),
        headers(sec_fetch_site="same-site"),
        headers(sec_fetch_site="cross-site", sec_fetch_mode="navigate"),
        headers(content_type="text/plain"),
        headers(content_type="application/x-www-form-urlencoded"),
        {"host": OURS},
    ],
)
def test_a_foreign_page_or_a_form_may_not(sent: dict[str, str]) -> None:
    assert forgery(sent, "POST")


def test_a_link_may_be_followed_but_a_foreign_page_may_open_no_socket() -> None:
    link = headers(sec_fetch_site="cross-site", sec_fetch_mode="navigate")
    assert forgery(link, "GET") is None
    assert forgery(headers(origin="https://evil.example"), "GET", websocket=True)
    assert forgery({"host": OURS, "origin": f"https://{OURS}"}, "GET", websocket=True) is None


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("LOCALHOST:80", True),
        ("127.0.0.1:8311", True),
        ("127.9.9.9", True),
        ("[::1]:8311", True),
        ("", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1@evil.example", False),
        ("evil.example:127", False),
        ("[::1", False),
        ("0.0.0.0", False),  # noqa: S104 no address of this machine that a page may name
    ],
)
def test_only_this_machines_own_names_are_its_names(host: str, own: bool) -> None:
    assert is_loopback_host(host) is own


def test_addresses_are_counted_by_site() -> None:
    assert address_key("2001:db8:1:2::5") == address_key("2001:db8:1:2:ffff::9")
    assert address_key("2001:db8:1:2::5") != address_key("2001:db8:1:3::5")
    assert address_key("10.0.0.1") != address_key("10.0.0.2")
    assert address_key("testclient") == "testclient"
    assert not is_loopback("")


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/api/v1/alerts", "read"),
        ("HEAD", "/cap/v1/feed", "read"),
        ("POST", "/api/v1/alerts/a/silence", "operate"),
        ("PATCH", "/nowhere", "operate"),
        ("OPTIONS", "/api/v1/alerts", "operate"),
        ("GET", "/api/v1/admin", "admin"),
        ("POST", "/api/v1/admin/forget", "admin"),
        ("GET", "/api/v1/administration", "read"),
        ("GET", "/open/v1x", "read"),
        ("POST", "/", "operate"),
        ("POST", "/open/v1/cases", "operate"),
        ("GET", "/open311/v2x/requests.json", "read"),
    ],
)
def test_what_is_not_open_needs_a_scope_also_where_nobody_knows_the_path(
    method: str, path: str, scope: str
) -> None:
    assert not is_open(method, path)
    assert needed_scope(method, path) == scope


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/static/code/map.js"),
        ("GET", "/open/v1/segments"),
        ("POST", "/open311/v2/requests.json"),
        ("POST", "/login"),
    ],
)
def test_the_page_open_data_and_citizens_requests_are_open(method: str, path: str) -> None:
    assert is_open(method, path)


def test_only_named_origins_are_answered_and_never_all() -> None:
    allowed = parse_origins("https://a.example")
    asked = {"origin": "https://a.example", "access-control-request-method": "GET"}
    assert preflight_headers(asked, "OPTIONS", allowed)
    assert preflight_headers(asked | {"origin": "https://b.example"}, "OPTIONS", allowed) is None
    assert preflight_headers(asked, "GET", allowed) is None
    assert allow_headers(asked, frozenset()) == {}
    for wrong in ("*", "a.example", "https://a.example/", "https://a.example/x", "file://x"):
        with pytest.raises(ConfigurationError, match="no origin"):
            parse_origins(wrong)
