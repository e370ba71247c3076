"""Open data comes with its licence and is limited for each address."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from civicstream.settings import FeedsSettings
from feeds.history.open_data import OpenDataTerms, address_block


async def _data(_: Request) -> PlainTextResponse:
    return PlainTextResponse("data", headers={"link": '<?cursor=x>; rel="next"'})


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def ask(terms: OpenDataTerms, address: str) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(terms, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://city.test") as client:
            return await client.get("/")

    return asyncio.run(once())


def make_terms(clock: Clock, **settings: object) -> OpenDataTerms:
    app = Starlette(routes=[Route("/", _data)])
    return OpenDataTerms(app, FeedsSettings(open_data=True, **settings), clock)


def test_every_answer_names_the_licence_and_may_be_read_by_any_page() -> None:
    answer = ask(make_terms(Clock(), open_data_attribution="City of Test"), "192.0.2.1")
    assert '<https://creativecommons.org/licenses/by/4.0/>; rel="license"' in answer.headers["link"]
    assert 'rel="next"' in answer.headers["link"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-attribution"] == "City of Test"


def test_an_address_that_asks_too_often_waits_and_others_do_not() -> None:
    clock = Clock()
    terms = make_terms(clock, open_data_per_min=3)
    assert [ask(terms, "192.0.2.1").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask(terms, "192.0.2.1")
    assert refused.headers["retry-after"] == "20"
    assert "license" in refused.headers["link"]
    assert ask(terms, "192.0.2.2").status_code == 200
    clock.now += 20
    assert ask(terms, "192.0.2.1").status_code == 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
    ],
)
def test_of_ipv6_the_network_of_a_connection_counts_as_one_address(
    one: str, other: str, same: bool
) -> None:
    assert (address_block(one) == address_block(other)) is same
