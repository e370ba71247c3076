"""Open data as an application of its own at /open/v1: no token, a limit for each address."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from civicstream.rate_limit import RateLimit
from civicstream.settings import FeedsSettings
from feeds.problems import problem_response

__all__ = ["OPEN_DATA_PATH", "OpenDataTerms"]

OPEN_DATA_PATH = "/open/v1"
_MINUTE_S = 60


class OpenDataTerms:
    """Sends the licence with every answer, lets pages of any site read it, counts by address."""

    def __init__(
        self, app: ASGIApp, settings: FeedsSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        per_min = settings.open_data_per_min
        self._app = app
        self._clock = clock
        self._per_min = per_min
        self._limit = RateLimit(per_min / _MINUTE_S, max(1, round(per_min)))
        self._served = 0
        self._headers = {"access-control-allow-origin": "*"}
        if settings.open_data_attribution:
            self._headers["x-attribution"] = settings.open_data_attribution
        self._licence = f'<{settings.open_data_licence}>; rel="license"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_terms(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("link", self._licence)
                headers.update(self._headers)
            await send(message)

        client = address_block(scope["client"][0] if scope.get("client") else "")
        self._served += 1
        if self._limit.admit(client, str(self._served), self._clock()):
            await self._app(scope, receive, send_with_terms)
            return
        wait_s = max(1, round(self._limit.wait_s(client)))
        refusal = problem_response(
            429,
            f"more than {self._per_min:g} requests a minute from one address; try again in "
            f"{wait_s} s, or ask for more rows at once",
            {"retry-after": str(wait_s)},
        )
        await refusal(scope, receive, send_with_terms)


def address_block(address: str) -> str:
    """Return what is counted as one address: of IPv6 the /64 that one connection is given."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))
