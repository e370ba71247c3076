"""Where a request comes from: this machine, our own page, or a page of somebody else; pure.

Whoever is let in without sending a secret along, because of a cookie or of the address, could be
a browser that a foreign page has made to send the request. Browsers say so: by ``Host`` (another
name that was made to point here, DNS rebinding), ``Origin`` and ``Sec-Fetch-Site``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["address_key", "forgery", "is_loopback", "is_loopback_host", "is_proxied"]

_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


def is_loopback(address: str) -> bool:
    """Return whether an IP address is this machine's own.

    >>> is_loopback("127.0.0.1"), is_loopback("::ffff:127.0.0.1"), is_loopback("10.0.0.1")
    (True, True, False)
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def is_loopback_host(host: str) -> bool:
    """Return whether a Host header names this machine.

    >>> is_loopback_host("localhost:8311"), is_loopback_host("[::1]"), is_loopback_host("evil.test")
    (True, True, False)
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or is_loopback(name)


def is_proxied(headers: Mapping[str, str]) -> bool:
    """Return whether a proxy passes the request on: then its address says nothing of the caller."""
    return any(name in headers for name in _PROXY_HEADERS)


def address_key(address: str) -> str:
    """Return what stands for an address when it is counted: of IPv6 the network of one site."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def forgery(headers: Mapping[str, str], method: str, *, websocket: bool = False) -> str | None:
    """Return why a request without a secret in it may be a foreign page's, or None.

    A request that no browser made has none of the headers, and needs none.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and _authority(origin) != _host(headers, origin):
        return f"the page that sends it is of another origin ({origin[:100]!r})"
    if site not in {None, "same-origin", "none"} and not _follows_link(headers, method):
        return f"the browser says it comes from another site (Sec-Fetch-Site: {site})"
    if websocket or method in {"GET", "HEAD", "OPTIONS"}:
        return None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        # A foreign page's form can send other kinds without the browser asking us first.
        return f"its Content-Type is {kind[:50] or 'not given'}, and must be application/json"
    return None


def _follows_link(headers: Mapping[str, str], method: str) -> bool:
    return method == "GET" and headers.get("sec-fetch-mode") == "navigate"


def _authority(origin: str) -> str | None:
    try:
        parts = urlsplit(origin)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return _without_default(f"{parts.hostname}{port}", parts.scheme)


def _host(headers: Mapping[str, str], origin: str) -> str:
    host = headers.get("host", "").lower().replace("[", "").replace("]", "")
    return _without_default(host, origin.partition(":")[0])


def _without_default(authority: str, scheme: str) -> str:
    return authority.removesuffix(f":{_DEFAULT_PORTS.get(scheme, '')}")
