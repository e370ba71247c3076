"""`civicstream token`: makes, lists and revokes the tokens of the feeds' callers."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from civicstream.access_tokens import SCOPES, NewToken, make_token
from civicstream.errors import ConfigurationError
from civicstream.postgres import Connection, connect, translated
from civicstream.settings import Settings
from sinks.database.roles import OWNER

__all__ = ["StoredToken", "create_token", "list_tokens", "parse_span", "revoke_token", "show"]

_SPAN = re.compile(r"(\d{1,5})([mhdy])")
_UNITS = {
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "y": timedelta(days=365),
}
_LONGEST = timedelta(days=3650)
# What others are called in the audit already.
_TAKEN = frozenset({"local", "system"})
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,80}")


@dataclass(frozen=True)
class StoredToken:
    """What is known of a token; its secret is not."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    last_used: datetime | None

    def state(self, now: datetime) -> str:
        """Return ``valid``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at <= now else "valid"


def parse_span(text: str) -> timedelta:
    """Return a span such as ``90d``; raise ConfigurationError for another.

    >>> parse_span("12h")
    datetime.timedelta(seconds=43200)
    """
    matched = _SPAN.fullmatch(text)
    span = int(matched[1]) * _UNITS[matched[2]] if matched else timedelta()
    if not timedelta() < span <= _LONGEST:
        raise ConfigurationError(
            f"--expires {text!r} is not a span of up to ten years; write it like 30m, 12h, 90d or "
            "1y. A token that never expires is one that nobody remembers"
        )
    return span


def create_token(
    settings: Settings, name: str, scopes: Sequence[str], expires: str, *, by: str | None = None
) -> NewToken:
    """Make a token and store its hash; raise ConfigurationError for a bad name, scope or span."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise ConfigurationError(
            f"{name!r} is not a name for a token: 1 to 80 letters, digits, '.', '_', '@', '-', "
            f"and not {' or '.join(sorted(_TAKEN))}; it is what the audit will call its bearer"
        )
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong or not scopes:
        raise ConfigurationError(
            f"--scope {' '.join(wrong) or '(none)'}: there are {', '.join(SCOPES)}; "
            "give it once for each"
        )
    until = datetime.now(UTC) + parse_span(expires)
    made = make_token()
    ordered = [scope for scope in SCOPES if scope in scopes]
    with _as_owner(settings) as connection:
        connection.execute(
            "SELECT access.create_token(%s, %s, %s, %s::text[], %s, %s)",
            (made.id, name, made.digest, ordered, by or getpass.getuser(), until),
        )
    return made


def list_tokens(settings: Settings) -> list[StoredToken]:
    """Return all tokens, the newest first."""
    with _as_owner(settings) as connection:
        rows = connection.execute(
            "SELECT id, name, scopes, created_at, created_by, expires_at, revoked_at, last_used "
            "FROM access.api_tokens ORDER BY created_at DESC, id"
        ).fetchall()
    return [StoredToken(row[0], row[1], tuple(row[2]), *row[3:]) for row in rows]


def show(tokens: Sequence[StoredToken]) -> None:
    """Print the tokens as a table."""
    now = datetime.now(UTC)
    table = Table("id", "state", "name", "scopes", "made by", "expires", "last used", box=None)
    for token in tokens:
        used = f"{token.last_used:%Y-%m-%d %H:00}" if token.last_used else "never"
        table.add_row(
            token.id,
            token.state(now),
            token.name,
            " ".join(token.scopes),
            token.created_by,
            f"{token.expires_at:%Y-%m-%d %H:%M}",
            used,
        )
    Console().print(table)


def revoke_token(settings: Settings, id_: str, *, by: str | None = None) -> str:
    """Revoke a token and return its bearer's name; ConfigurationError when there is none."""
    with _as_owner(settings) as connection:
        row = connection.execute(
            "SELECT access.revoke_token(%s, %s)", (id_, by or getpass.getuser())
        ).fetchone()
    if row is None or row[0] is None:
        raise ConfigurationError(
            f"there is no token {id_!r} that could be revoked; `civicstream token list` shows them"
        )
    return str(row[0])


@contextmanager
def _as_owner(settings: Settings) -> Iterator[Connection]:
    """A transaction as the tables' owner; whoever ran `init` may become that."""
    url = settings.database.owner_url or settings.database.url
    with connect(url, "civicstream-token") as connection:
        try:
            with translated(), connection.transaction():
                connection.execute(f"SET LOCAL ROLE {OWNER}".encode())
                yield connection
        except ConfigurationError as error:
            if "database refuses" not in str(error):
                raise
            raise ConfigurationError(
                f"role {connection.info.user!r} may not look after tokens; set "
                "CIVICSTREAM_DATABASE__OWNER_URL to the role that ran `civicstream init`"
            ) from error
