"""The lists of the API, declared: relation, columns, order, what they can be filtered by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from civicstream.kinds import KINDS
from feeds.history.columns import Column, columns

__all__ = ["Filter", "Listing", "Times"]


@dataclass(frozen=True)
class Filter:
    """A query parameter that narrows a list.

    ``any``: one or more values, separated by commas; ``at_least``: a number, or one of
    ``choices`` in rising order.
    """

    name: str
    description: str
    sql: str = ""
    type: Literal["text", "int", "float"] = "text"
    choices: tuple[str, ...] = ()
    rule: Literal["any", "at_least"] = "any"

    @property
    def source(self) -> str:
        return self.sql or f"h.{self.name}"


@dataclass(frozen=True)
class Times:
    """What `from` and `to` mean for a list.

    Without ``closed`` a row is in the list when its ``start`` is in the span. With it a row is in
    the list when it was alive at some time of the span: begun before its end, and not ``closed``
    (SQL condition) before its start, by ``end``.
    """

    start: str
    end: str = ""
    closed: str = ""
    default_span_s: int = 3600

    @property
    def meaning(self) -> str:
        if self.closed:
            return "what was alive at some time of the span"
        return f"what has {self.start.removeprefix('h.')} in the span"


@dataclass(frozen=True)
class Listing:
    """One list; ``key`` are columns that together are unique and never change."""

    path: str
    summary: str
    relation: str
    """SQL after FROM; the rows are called h."""
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    newest_first: bool = False
    times: Times | None = None
    filters: tuple[Filter, ...] = ()
    place: Literal["point", "geometry"] | None = None
    arrow: bool = False
    parameters: tuple[str, ...] = ()
    """Places in ``relation`` that the route fills, say a segment's id."""
    tag: str = "history"

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)


AREA = Filter("area", "Districts.")
KIND = Filter("kind", "Kinds of observation.", choices=tuple(KINDS))
MIDDLE_JOIN = "LEFT JOIN segments s ON s.id = h.segment"
MIDDLE = columns(
    Column("lon", "float", "Longitude halfway along the segment.", True, "s.middle_lon"),
    Column("lat", "float", "Latitude halfway along the segment.", True, "s.middle_lat"),
)
"""The place to mark a segment at; needs ``MIDDLE_JOIN``."""
