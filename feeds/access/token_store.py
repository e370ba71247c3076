"""Whose token it is, asked of the database and remembered for a moment."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from psycopg import errors
from pydantic import SecretStr

from civicstream.access_tokens import looks_like_token, token_digest
from civicstream.errors import ServerUnavailable
from civicstream.postgres import Pool
from feeds.access.callers import Caller

__all__ = ["TokenStore"]

# A revoked token is good for no longer than this; each token in use costs a question as often.
_FRESH_S = 2.0
# While the database is away, who was let in a moment ago goes on: an operations centre must not
# go dark because a database is restarted.
_GRACE_S = 60.0
_MAX_REMEMBERED = 10_000
_TIMEOUT_S = 5


@dataclass(frozen=True)
class _Known:
    caller: Caller
    at: float


class TokenStore:
    """A small pool of connections as the reader."""

    def __init__(self, url: SecretStr) -> None:
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        # Not read-only: where it may write, the database notes when a token was used.
        self._pool = Pool(url, "civicstream-access", most=2, patience_s=_TIMEOUT_S, read_only=False)
        self.open, self.close = self._pool.open, self._pool.close

    def remembered(self, token: str) -> Caller | None:
        """Return the caller of a token that was good a moment ago, without asking anybody."""
        known = self._known.get(token_digest(token))
        if known is None or time.monotonic() - known.at > _FRESH_S or _ended(known.caller):
            return None
        return known.caller

    def knows(self, token: str) -> bool:
        """Return whether the token was good when it was last asked about."""
        return token_digest(token) in self._known

    async def find(self, token: str) -> Caller | None:
        """Return the token's caller, None when it is unknown, expired or revoked.

        Raise ServerUnavailable while the database is away and the token was not seen just before.
        """
        if not looks_like_token(token):
            return None
        digest = token_digest(token)
        try:
            row = await self._ask(digest)
        except ServerUnavailable:
            known = self._known.get(digest)
            if known and time.monotonic() - known.at < _GRACE_S and not _ended(known.caller):
                return known.caller
            raise
        if row is None:
            self._known.pop(digest, None)
            return None
        id_, name, scopes, expires_at = row
        caller = Caller(name, frozenset(scopes), f"token/{id_}", expires_at.timestamp())
        self._known[digest] = _Known(caller, time.monotonic())
        self._known.move_to_end(digest)
        if len(self._known) > _MAX_REMEMBERED:
            self._known.popitem(last=False)
        return caller

    async def _ask(self, digest: bytes) -> tuple[Any, ...] | None:
        async with self._pool.connection() as connection:
            try:
                cursor = await connection.execute(
                    "SELECT id, name, scopes, expires_at FROM access.verify_token(%s)", (digest,)
                )
                return await cursor.fetchone()
            except (errors.UndefinedFunction, errors.InvalidSchemaName) as error:
                raise ServerUnavailable(
                    "the database knows no tokens; run `civicstream init`"
                ) from error
            except errors.InsufficientPrivilege as error:
                raise ServerUnavailable(
                    "CIVICSTREAM_FEEDS__DATABASE_URL must be of the role civicstream_reader, which "
                    f"may check tokens ({error.diag.message_primary})"
                ) from error


def _ended(caller: Caller) -> bool:
    return caller.expires_at is not None and time.time() >= caller.expires_at
