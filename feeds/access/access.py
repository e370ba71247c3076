"""Access to the feeds as one part: made from the settings, opened and closed by the service."""

from __future__ import annotations

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from civicstream.settings import Settings
from feeds.access.authentication import Authentication
from feeds.access.guard import Guard
from feeds.access.issuer_keys import IssuerKeys
from feeds.access.open_streams import OpenStreams
from feeds.access.session import Sessions
from feeds.access.token_store import TokenStore
from feeds.access.web_tokens import WebTokens

__all__ = ["Access"]


class Access:
    """Tokens, JWTs, sessions and the guard; raises ConfigurationError for settings that let all in.

    ``guard`` goes before all routes, ``routes`` among them.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.access
        issuer = settings.access.oidc_issuer
        web = WebTokens(settings.access, IssuerKeys(issuer)) if issuer is not None else None
        self._tokens = TokenStore(settings.feeds.database_url or settings.database.url)
        self._authentication = Authentication(settings, self._tokens, web)
        self._streams = OpenStreams(self._authentication.still_good)

    def guard(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` behind the guard."""
        return Guard(app, self._settings, self._authentication, self._streams)

    def routes(self) -> list[BaseRoute]:
        """Return the routes for signing in and out."""
        return [*Sessions(self._settings, self._authentication).routes()]

    async def open(self) -> None:
        await self._tokens.open()
        await self._streams.open()

    async def close(self) -> None:
        await self._streams.close()
        await self._tokens.close()
