"""The methods of GeoReport v2 as HTTP routes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from civicstream.clock import now_ms
from civicstream.errors import ServerUnavailable
from civicstream.services import ServiceType
from civicstream.settings import FeedsSettings
from feeds.api_keys import key_name
from feeds.open311.errors import Open311Error
from feeds.open311.filters import RequestFilter, read_filter
from feeds.open311.markup import MEDIA_TYPES, Format, render
from feeds.open311.request_view import RequestView, StoredRequest
from feeds.open311.service_list import service_definition, service_list, service_notice
from feeds.open311.submission import Form, read_form, read_submission
from feeds.report_service import ReportService

__all__ = ["Open311"]

log = logging.getLogger(__name__)

Find = Callable[[RequestFilter], Awaitable[list[StoredRequest]]]
Answer = tuple[Any, str]
"""What to show and the name of its element in XML."""

_FORM = "application/x-www-form-urlencoded"
# A body that takes longer than this is no form of a citizen's app.
_BODY_WITHIN_S = 15


@dataclass(frozen=True)
class Open311:
    """``reports`` None: reports cannot be taken in."""

    settings: FeedsSettings
    services: Mapping[str, ServiceType]
    api_keys: Mapping[str, str]
    find: Find
    reports: ReportService | None

    def routes(self) -> list[Route]:
        """Return the routes below the endpoint."""
        return [
            Route(f"/{path}", self._in_format(method), methods=[verb])
            for verb, path, method in (
                ("GET", "discovery.{form}", self._discovery),
                ("GET", "services.{form}", self._services),
                ("GET", "services/{name:path}.{form}", self._definition),
                ("POST", "requests.{form}", self._post),
                ("GET", "requests.{form}", self._requests),
                ("GET", "requests/{name:path}.{form}", self._request),
                ("GET", "tokens/{name:path}.{form}", self._token),
            )
        ]

    def _in_format(
        self, method: Callable[[Request], Awaitable[Answer]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            form: Format = "xml" if request.path_params["form"] == "xml" else "json"
            try:
                _check_format(request.path_params["form"])
                _check_text(request)
                found, root = await method(request)
            except Open311Error as error:
                return _failure(error, form)
            except ServerUnavailable as error:
                log.warning("%s %s: %s", request.method, request.url.path, error)
                sentence = "not possible at this moment; nothing is lost, try again"
                return _failure(Open311Error(503, sentence, {"Retry-After": "5"}), form)
            return Response(render(found, root, form), media_type=MEDIA_TYPES[form])

        return answer

    def _check_jurisdiction(self, given: str | None) -> None:
        ours = self.settings.jurisdiction_id
        if ours is not None and given and given.strip() != ours:
            raise Open311Error(404, "jurisdiction_id was not found")

    async def _discovery(self, request: Request) -> Answer:
        address = str(request.url).rpartition("/discovery.")[0]
        endpoint = {
            "specification": "http://wiki.open311.org/GeoReport_v2",
            "url": address,
            "changeset": "2011-04-05T17:48Z",
            "type": "production",
            "formats": ["text/xml", "application/json"],
        }
        found = {
            "changeset": "2011-04-05T17:48Z",
            "contact": "",
            "key_service": "",
            "endpoints": [endpoint],
        }
        return found, "discovery"

    async def _services(self, request: Request) -> Answer:
        self._check_jurisdiction(request.query_params.get("jurisdiction_id"))
        return service_list(self.services), "services"

    async def _definition(self, request: Request) -> Answer:
        self._check_jurisdiction(request.query_params.get("jurisdiction_id"))
        service = self.services.get(request.path_params["name"])
        if service is None:
            raise Open311Error(404, "service_code was not found; GET services lists them")
        return service_definition(service), "service_definition"

    async def _requests(self, request: Request) -> Answer:
        query = request.query_params
        self._check_jurisdiction(query.get("jurisdiction_id"))
        wanted = read_filter(query, datetime.now(UTC))
        return self._shown(await self.find(wanted)), "service_requests"

    async def _request(self, request: Request) -> Answer:
        return self._shown([await self._one(request, "service_request_id")]), "service_requests"

    async def _token(self, request: Request) -> Answer:
        """Ids are known at once, so a token is the id itself (POST never returns another)."""
        found = await self._one(request, "token")
        return [{"service_request_id": found.id, "token": found.id}], "service_requests"

    async def _one(self, request: Request, what: str) -> StoredRequest:
        self._check_jurisdiction(request.query_params.get("jurisdiction_id"))
        found = await self.find(RequestFilter(ids=(request.path_params["name"],)))
        if not found:
            raise Open311Error(404, f"{what} was not found")
        return found[0]

    def _shown(self, found: list[StoredRequest]) -> list[dict[str, Any]]:
        settings = self.settings
        view = RequestView(self.services, settings.position_decimals, settings.publish_addresses)
        return [view.show(request) for request in found]

    async def _post(self, request: Request) -> Answer:
        form = read_form(await self._body(request))
        query = request.query_params
        self._check_jurisdiction(form.get("jurisdiction_id") or query.get("jurisdiction_id"))
        has_key = self._check_key(form, query.get("api_key"))
        if self.reports is None:
            raise Open311Error(503, "this server is not set up to take reports in")
        key = request.headers.get("idempotency-key", "").strip().strip('"')
        sent = read_submission(form, key or None, now_ms())
        anonymous = sent.identity.startswith("open311:anonymous:")
        address = request.client.host if request.client else "unknown"
        sender = f"address:{address}" if anonymous or not has_key else None
        made = await self.reports.take(sent, sender, now_ms=now_ms(), now=time.monotonic())
        answer = {
            "service_request_id": made.report.id,
            "service_notice": service_notice(self.services[made.report.service]),
            "account_id": form.get("account_id"),
        }
        return [answer], "service_requests"

    def _check_key(self, form: Form, in_query: str | None) -> bool:
        """Return whether there was a key; raise Open311Error (403) for a wrong or missing one."""
        key = form.get("api_key") or in_query
        if key and key_name(self.api_keys, key):
            return True
        if key or not self.settings.allow_anonymous:
            raise Open311Error(403, "api_key is missing or invalid")
        return False

    async def _body(self, request: Request) -> bytes:
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given != _FORM:
            raise Open311Error(400, f"the content type must be {_FORM}; send media as media_url")
        limit, body = self.settings.max_body_bytes, bytearray()
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise Open311Error(413, f"the form is larger than {limit} bytes")
        except TimeoutError:
            raise Open311Error(408, f"the form took longer than {_BODY_WITHIN_S} s") from None
        except ClientDisconnect:
            raise Open311Error(400, "the client went away") from None
        return bytes(body)


def _check_format(name: str) -> None:
    if name not in MEDIA_TYPES:
        raise Open311Error(404, "the address must end in .json or .xml")


def _check_text(request: Request) -> None:
    """Refuse what no text column of PostgreSQL can be compared with."""
    given = {"the address": request.url.path, **request.path_params, **request.query_params}
    for name, value in given.items():
        if "\0" in str(value) or "\0" in name:
            raise Open311Error(400, f"{name.replace(chr(0), '?')[:60]} holds a NUL character")


def _failure(error: Open311Error, form: Format) -> Response:
    body = render([{"code": error.status, "description": error.description}], "errors", form)
    return Response(
        body, status_code=error.status, headers=error.headers, media_type=MEDIA_TYPES[form]
    )
