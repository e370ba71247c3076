"""Who is calling, and which scope a request needs; pure."""

from __future__ import annotations

from dataclasses import dataclass

from civicstream.access_tokens import SCOPES, Scope

__all__ = ["LOCAL", "Caller", "is_open", "needed_scope"]


@dataclass(frozen=True)
class Caller:
    """Whom the guard let in; routes find it as ``scope["caller"]``."""

    name: str
    """What actions and the audit call the caller."""
    scopes: frozenset[str]
    key: str = ""
    """What the rate limit counts by; empty: nothing is counted."""
    expires_at: float | None = None
    """Epoch seconds after which the caller is nobody any more."""


LOCAL = Caller("local", frozenset(SCOPES))
"""Every caller on loopback while no token is required."""

# The page's own files hold no data: it has to load before anybody can sign in to it.
_OPEN_TO_READ = ("/static", "/open/v1")
_OPEN_PAGES = ("/", "/favicon.ico")
# Citizens' apps have keys of their own, which the routes check.
_OPEN_TO_ALL = ("/open311/v2", "/login", "/logout")
_ADMIN = "/api/v1/admin"
_READING = frozenset({"GET", "HEAD"})


def is_open(method: str, path: str) -> bool:
    """Return whether anybody may send this request."""
    if any(_below(path, prefix) for prefix in _OPEN_TO_ALL):
        return True
    if method not in _READING:
        return False
    return path in _OPEN_PAGES or any(_below(path, prefix) for prefix in _OPEN_TO_READ)


def needed_scope(method: str, path: str) -> Scope:
    """Return the scope a request that is not open needs; paths nobody knows need one too."""
    if _below(path, _ADMIN):
        return "admin"
    return "read" if method in _READING else "operate"


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")
