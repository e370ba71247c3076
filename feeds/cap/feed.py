"""CAP messages as an Atom feed (RFC 4287): one entry an alert, leading to its newest message."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring  # writing only

from feeds.cap.message import CapMessage, cap_time, writable

__all__ = ["CAP_TYPE", "atom_feed"]

CAP_TYPE = "application/cap+xml"
_NAMESPACE = "http://www.w3.org/2005/Atom"


def atom_feed(messages: Sequence[CapMessage], base_url: str, author: str, made_ms: int) -> bytes:
    """Return the feed of these messages, the newest first.

    ``base_url`` is that of the messages, e.g. ``https://city.example/cap/alerts``; ``made_ms`` is
    when the feed last changed while it has no message.
    """
    newest_first = sorted(messages, key=lambda m: (-m.alert.computed_at, m.identifier))
    changed = newest_first[0].alert.computed_at if newest_first else made_ms
    feed = Element("feed", xmlns=_NAMESPACE)
    address = f"{base_url}.atom"
    _add(feed, "id", address)
    _add(feed, "title", "Alerts of the city")
    _add(feed, "updated", cap_time(changed))
    _add(SubElement(feed, "author"), "name", author)
    SubElement(feed, "link", rel="self", type="application/atom+xml", href=address)
    for message in newest_first:
        _entry(feed, message, base_url)
    return bytes(tostring(feed, encoding="utf-8", xml_declaration=True))


def _entry(feed: Element, message: CapMessage, base_url: str) -> None:
    alert = message.alert
    entry = SubElement(feed, "entry")
    # The entry is the alert, so that a reader replaces its earlier message by the newest.
    _add(entry, "id", f"{base_url}/{quote(quote(alert.id, safe=''), safe='')}")
    _add(entry, "title", " ".join(alert.headline.split()))
    _add(entry, "updated", cap_time(alert.computed_at))
    _add(entry, "published", cap_time((message.earlier or (alert,))[0].computed_at))
    address = f"{base_url}/{quote(message.identifier, safe='')}.xml"
    SubElement(entry, "link", rel="alternate", type=CAP_TYPE, href=address)
    SubElement(entry, "category", term=message.type)
    SubElement(entry, "category", term=alert.severity)
    _add(entry, "summary", alert.description or alert.headline)


def _add(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = writable(text)
