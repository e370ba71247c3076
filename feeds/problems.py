"""Errors of the API as problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

__all__ = ["PROBLEM_TYPE", "Problem", "problem_response"]

PROBLEM_TYPE = "application/problem+json"


class Problem(Exception):
    """A request that is refused: ``detail`` names the value, the place and the remedy."""

    def __init__(
        self, status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.more = more
        """Further members of the document, e.g. ``parameter``."""

    def response(self) -> Response:
        """Return the answer to the request."""
        return problem_response(self.status, self.detail, self.headers, **self.more)


def problem_response(
    status: int, detail: str, headers: Mapping[str, str] | None = None, **more: object
) -> Response:
    """Return a problem document of ``status``; its title is the status's own phrase."""
    document = {"status": status, "title": HTTPStatus(status).phrase, "detail": detail, **more}
    body = msgspec.json.encode(document)
    return Response(body, status, dict(headers or {}), media_type=PROBLEM_TYPE)
