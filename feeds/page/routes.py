"""Serves the operations page: ``/`` and ``/static/<version>/…``, cached as long as can be."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from feeds.page.static_files import PageFiles, StaticFile, load_page_files

__all__ = ["PAGE_POLICY", "page_routes"]

# Nothing but our own files: no inline script or style, no foreign host. The few rules that plotly
# would write into the page are in style/charts.css instead, so not even its styles are inline.
PAGE_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

_FOREVER = "public, max-age=31536000, immutable"
_ASK_EACH_TIME = "no-cache"


def page_routes(files: PageFiles | None = None) -> list[BaseRoute]:
    """Return the routes of the page; ``files`` None: those of this package.

    The files hold nothing of the city, so they need no sign-in; what they show they get from
    the API, which does. Raise ConfigurationError when a file is missing.
    """
    known = files or load_page_files()

    async def page(request: Request) -> Response:
        response = _answer(request, known.index, _ASK_EACH_TIME)
        response.headers["content-security-policy"] = PAGE_POLICY
        return response

    async def static(request: Request) -> Response:
        found = known.files.get(request.path_params["path"])
        if found is None or request.path_params["version"] != known.version:
            raise HTTPException(404, "no such file; reload the page, it may be a newer one")
        return _answer(request, found, _FOREVER)

    return [Route("/", page), Route("/static/{version}/{path:path}", static)]


def _answer(request: Request, file: StaticFile, cache_control: str) -> Response:
    headers = {"etag": file.etag, "cache-control": cache_control, "vary": "accept-encoding"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body = file.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["content-encoding"] = file.gzipped, "gzip"
    return Response(body, headers=headers, media_type=file.content_type)
