"""In which form an answer goes out: what the client accepts of what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from feeds.history.query import refuse
from feeds.problems import Problem

__all__ = ["MEDIA_TYPES", "Format", "choose_format"]

Format = Literal["json", "csv", "geojson", "arrow"]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "geojson": "application/geo+json",
    "arrow": "application/vnd.apache.arrow.stream",
}


def choose_format(query: Mapping[str, str], accept: str, offered: Sequence[Format]) -> Format:
    """Return the form of the answer; ``format`` outweighs the Accept header.

    Raise Problem 400 for an unknown ``format``, 406 where nothing that is offered is accepted.
    """
    wanted = query.get("format")
    if wanted is not None:
        for known in offered:
            if wanted == known:
                return known
        status = 406 if wanted in MEDIA_TYPES else 400
        refuse("format", wanted, f"choose from {', '.join(offered)}", status)
    if not accept.strip():
        return offered[0]
    weights = [(_weight(MEDIA_TYPES[form], accept), -order) for order, form in enumerate(offered)]
    best, order = max(weights)
    if best > 0:
        return offered[-order]
    choices = ", ".join(MEDIA_TYPES[form] for form in offered)
    raise Problem(
        406,
        f"Accept is {accept[:100]!r}; this path gives {choices}",
        parameter="Accept",
        choices=[MEDIA_TYPES[form] for form in offered],
    )


def _weight(media_type: str, accept: str) -> float:
    """Return the quality that an Accept header gives a media type (RFC 9110, 12.5.1)."""
    kind = media_type.split("/", 1)[0]
    found: dict[int, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        precision = {media_type: 3, f"{kind}/*": 2, "*/*": 1}.get(name)
        if precision is not None:
            found[precision] = _quality(parameters)
    return found[max(found)] if found else 0.0


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
