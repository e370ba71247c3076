"""Answers as JSON and as XML (GeoReport v2, format support)."""

from __future__ import annotations

from typing import Any, Literal
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec

__all__ = ["MEDIA_TYPES", "Format", "render"]

Format = Literal["json", "xml"]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json; charset=utf-8",
    "xml": "text/xml; charset=utf-8",
}
_MEMBERS = {
    "services": "service",
    "service_requests": "request",
    "attributes": "attribute",
    "values": "value",
    "errors": "error",
    "endpoints": "endpoint",
    "formats": "format",
}
"""Name of a list's element -> name of its members' elements."""


def render(found: Any, root: str, form: Format) -> bytes:
    """Return a list or an object as UTF-8; in XML the document's element is ``root``."""
    if form == "json":
        return msgspec.json.encode(found)
    document = Element(root)
    _fill(document, found)
    written: bytes = tostring(document, encoding="utf-8", xml_declaration=True)
    return written


def _fill(element: Element, value: Any) -> None:
    if isinstance(value, dict):
        for name, member in value.items():
            _fill(SubElement(element, name), member)
    elif isinstance(value, list):
        for member in value:
            _fill(SubElement(element, _MEMBERS[element.tag]), member)
    elif isinstance(value, bool):
        element.text = str(value).lower()
    elif value is not None:
        element.text = _legal(str(value))


def _legal(text: str) -> str:
    """Return the text without characters that XML 1.0 cannot hold (section 2.2, Char)."""
    return "".join(
        c
        for c in text
        if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )
