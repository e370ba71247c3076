"""Addresses that citizens give: only servers that are out in the open are called.

Without this anybody could have us call what only we can reach (server-side request forgery). A
name is resolved here, every address it has is checked, and the connection goes to one of those
that were checked, so that a second answer of the name server changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from alerts.deliveries.outcomes import Refused

__all__ = ["Destination", "destination", "is_public"]

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in an IPv6 one


@dataclass(frozen=True)
class Destination:
    """Where to connect to, and what to say there: ``url`` has the address in place of the name."""

    url: str
    host: str
    """For TLS and its certificate."""
    host_header: str


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public internet, also inside IPv6."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        inner = _inside(ip)
        if inner is not None and not is_public(str(inner)):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _inside(ip: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address carries."""
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def destination(
    url: str,
    resolve: Callable[[str, int], Iterable[str]],
    *,
    allow_http: bool = False,
    allow_private: bool = False,
) -> Destination:
    """Return where to connect to; raise Refused for what must not be called.

    ``resolve`` returns the IP addresses of a host, or raises OSError.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    plain = url.isascii() and url.isprintable() and " " not in url
    if not host or parts.username is not None or not plain:
        raise Refused("the address is malformed")
    if parts.scheme != "https" and not (allow_http and parts.scheme == "http"):
        raise Refused("the address is not https")
    if port not in {None, 443} and not allow_private:
        raise Refused(f"port {port} is not that of https")
    number = port or (443 if parts.scheme == "https" else 80)
    found = list(resolve(host, number))
    if not found:
        raise OSError("the name has no address")
    if not allow_private and not all(is_public(address) for address in found):
        raise Refused("the address is not on the public internet")
    literal = f"[{found[0]}]" if ":" in found[0] else found[0]
    rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Destination(
        f"{parts.scheme}://{literal}:{number}{rest}",
        host,
        host if port is None else f"{host}:{port}",
    )
