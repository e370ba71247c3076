"""The JSON API below ``/api/v1``: routers of the parts, one OpenAPI document, one kind of error."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from civicstream import __version__
from feeds.problems import Problem, problem_response

__all__ = ["API_PATH", "make_api", "with_slashes"]

API_PATH = "/api/v1"


def make_api(routers: Sequence[APIRouter]) -> FastAPI:
    """Return the application to mount at ``API_PATH``; its document is at ``openapi.json``."""
    api = FastAPI(
        title="CivicStream",
        version=__version__,
        summary="A city's live state, history, alerts, and the decisions of its people.",
        openapi_url="/openapi.json",
        docs_url=None,  # they load scripts from foreign hosts
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in routers:
        api.include_router(router)
    api.add_exception_handler(Problem, _problem)
    api.add_exception_handler(HTTPException, _refused)
    api.add_exception_handler(RequestValidationError, _invalid)
    return api


def with_slashes(path: str) -> str:
    """Return the route's path with parameters that take ids with slashes, such as
    ``case/c-17/crew-5/1795948524322``.

    The client percent-encodes them, but they are decoded before a route is chosen. So of two
    routes that begin alike the longer is added first.
    """
    return re.sub(r"\{(\w+)\}", r"{\1:path}", path)


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 that is what it is registered for
    return error.response()


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 that is what it is registered for
    return problem_response(error.status_code, str(error.detail), error.headers)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 that is what it is registered for
    found = [
        {"place": ".".join(str(part) for part in item["loc"]), "fault": item["msg"]}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['place']}: {item['fault']}" for item in found)
    return problem_response(400, detail, errors=found)
