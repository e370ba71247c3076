"""Addresses that citizens give never lead to this machine or its networks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.deliveries.outcomes import Refused
from alerts.deliveries.public_addresses import destination, is_public

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "0.1.2.3",
    "100.64.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:0a01:0203::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_in_whatever_form(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(Refused, match="not on the public internet"):
        destination("https://example.org/", lambda *_: ["93.184.216.34", address])


@given(st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_no_private_address_gets_through_inside_an_ipv6_one(ip: object) -> None:
    assert not is_public(f"::ffff:{ip}")


def test_the_connection_goes_to_the_address_that_was_checked_under_the_name_given() -> None:
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["93.184.216.34"]

    to = destination("https://News.example.org/a/b?c=1", resolve)
    assert to.url == "https://93.184.216.34:443/a/b?c=1"
    assert (to.host, to.host_header) == ("news.example.org", "news.example.org")
    assert asked == [("news.example.org", 443)]
    six = destination("https://example.org", lambda *_: ["2606:2800:220:1::1"])
    assert six.url == "https://[2606:2800:220:1::1]:443/"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "https://",
        "https://user@example.org/",
        "https://example.org:8443/",
        "https://exa mple.org/",
        "nonsense",
        "https://example.org:x/",
        "https://example.org/\r\nX-Evil: 1",
    ],
)
def test_what_is_no_plain_https_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        destination(url, lambda *_: ["93.184.216.34"])


def test_tests_may_allow_http_and_this_machine() -> None:
    to = destination(
        "http://127.0.0.1:8080/x", lambda *_: ["127.0.0.1"], allow_http=True, allow_private=True
    )
    assert (to.url, to.host_header) == ("http://127.0.0.1:8080/x", "127.0.0.1:8080")
