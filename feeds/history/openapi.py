"""What the OpenAPI document says of the lists: parameters, forms of answers, errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feeds.history.answers import MEDIA_TYPES, Format
from feeds.history.columns import Column
from feeds.history.listings import Filter, Listing
from feeds.history.query import Limits
from feeds.history.state import TOPICS
from feeds.history.windows import STEPS
from feeds.problems import PROBLEM_TYPE

__all__ = [
    "FORMAT_NOTE",
    "document_responses",
    "error_responses",
    "listing_formats",
    "listing_parameters",
    "listing_responses",
    "parameter",
    "path_parameter",
    "row_schema",
    "span_parameters",
    "state_schema",
    "step_parameter",
]

FORMAT_NOTE = "Outweighs the Accept header."
_TIME = "RFC 3339 with offset, or epoch milliseconds"
_TYPES = {"text": "string", "int": "integer", "float": "number"}
_EXAMPLES: dict[str, Any] = {"min_severity": 0.3, "bbox": "13.30,52.45,13.50,52.55"}


def parameter(
    name: str, description: str, schema: dict[str, Any], example: Any = None
) -> dict[str, Any]:
    """Return a query parameter object."""
    made = {"name": name, "in": "query", "required": False, "description": description}
    shown = {} if example is None else {"example": example}
    return {**made, "schema": schema, **shown}


def path_parameter(name: str, description: str, example: str) -> dict[str, Any]:
    made = {"name": name, "in": "path", "required": True, "description": description}
    return {**made, "schema": {"type": "string"}, "example": example}


def step_parameter() -> dict[str, Any]:
    return parameter(
        "step",
        "How much time a row is of; 1m: the windows as they were published. Longest span: "
        + ", ".join(f"{step.name} {step.max_days:g} d" for step in STEPS.values())
        + "; of an area "
        + ", ".join(f"{step.name} {step.max_days_of_area:g} d" for step in STEPS.values())
        + ".",
        {"type": "string", "enum": list(STEPS), "default": "1m"},
        "15m",
    )


def span_parameters(meaning: str, default: str) -> list[dict[str, Any]]:
    """Return ``from`` and ``to``; ``default`` is how long the span is when nothing is said."""
    return [
        parameter(
            "from",
            f"Start of the span [{_TIME}]; in the list is {meaning}. Default: {default} "
            "before `to`.",
            {"type": "string"},
            "2026-05-04T07:00:00Z",
        ),
        parameter(
            "to",
            f"End of the span, itself not in it [{_TIME}]. Default: now.",
            {"type": "string"},
            "2026-05-04T08:00:00Z",
        ),
    ]


def _filter_parameter(one: Filter) -> dict[str, Any]:
    if one.rule == "any":
        return parameter(
            one.name,
            f"{one.description} One or more, separated by commas."
            + (f" Choices: {', '.join(one.choices)}." if one.choices else ""),
            {"type": "string"},
            one.choices[0] if one.choices else None,
        )
    schema: dict[str, Any] = {"type": _TYPES[one.type]}
    if one.choices:
        schema["enum"] = list(one.choices)
    return parameter(one.name, one.description, schema, one.choices[1] if one.choices else 0.3)


def listing_formats(listing: Listing) -> tuple[Format, ...]:
    """Return the forms in which a list is given."""
    formats: list[Format] = ["json", "csv"]
    if listing.place:
        formats.append("geojson")
    if listing.arrow:
        formats.append("arrow")
    return tuple(formats)


def listing_parameters(
    listing: Listing, limits: Limits, more: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return all query parameters of a list, after ``more``."""
    made = list(more)
    if times := listing.times:
        made += span_parameters(times.meaning, f"{times.default_span_s / 3600:g} h")
    made += [_filter_parameter(one) for one in listing.filters]
    if listing.place == "point":
        made.append(
            parameter(
                "bbox",
                "west,south,east,north [degrees, WGS 84]: what has its place in there.",
                {"type": "string"},
                _EXAMPLES["bbox"],
            )
        )
    return [
        *made,
        parameter(
            "limit",
            f"Rows of a page. A CSV may have more than {limits.max_rows:,}: it is sent page after "
            "page.",
            {
                "type": "integer",
                "minimum": 1,
                "maximum": limits.max_rows,
                "default": min(limits.default_rows, limits.max_rows),
            },
            100,
        ),
        parameter("cursor", "Where to go on: `next` of the page before.", {"type": "string"}),
        parameter(
            "format",
            FORMAT_NOTE,
            {"type": "string", "enum": list(listing_formats(listing))},
            "csv",
        ),
    ]


def row_schema(columns: Sequence[Column]) -> dict[str, Any]:
    """Return the JSON schema of an item."""
    return {
        "type": "object",
        "properties": {column.name: column.schema() for column in columns},
        "required": [column.name for column in columns],
    }


def listing_responses(
    listing: Listing, *, missing: bool = False
) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a list, good and bad."""
    schemas: dict[Format, dict[str, Any]] = {
        "json": {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": row_schema(listing.columns)},
                "next": {
                    "type": ["string", "null"],
                    "description": "The cursor of the next page; null after the last one.",
                },
                "from": {"type": "integer", "description": "Start of the span [epoch ms]."},
                "to": {"type": "integer", "description": "End of the span [epoch ms]."},
            },
            "required": ["items", "next"],
        },
        "csv": {"type": "string", "description": "RFC 4180 with a header; times in RFC 3339."},
        "geojson": {"type": "object", "description": "FeatureCollection (RFC 7946)."},
        "arrow": {"type": "string", "format": "binary", "description": "Arrow IPC stream."},
    }
    content = {MEDIA_TYPES[form]: {"schema": schemas[form]} for form in listing_formats(listing)}
    headers = {
        "ETag": {"schema": {"type": "string"}, "description": "For If-None-Match."},
        "Link": {"schema": {"type": "string"}, "description": "rel=next: the next page."},
    }
    good = {"description": listing.summary, "content": content, "headers": headers}
    return {
        200: good,
        304: {"description": "The client has it already."},
        **error_responses(missing=missing),
    }


def document_responses(
    description: str, media_type: str, schema: dict[str, Any]
) -> dict[int | str, dict[str, Any]]:
    """Return the answers of a document, good and bad."""
    content = {media_type: {"schema": schema}}
    headers = {"ETag": {"schema": {"type": "string"}, "description": "For If-None-Match."}}
    good = {"description": description, "content": content, "headers": headers}
    errors = error_responses(missing=True)
    return {200: good, 304: {"description": "The client has it already."}, **errors}


def state_schema() -> dict[str, Any]:
    """Return the JSON schema of the state at a moment."""
    topics = {
        name: {"type": "array", "items": row_schema(topic.columns)}
        for name, topic in TOPICS.items()
    }
    return {
        "type": "object",
        "properties": {
            "at": {"type": "integer", "description": "The moment [epoch ms]."},
            "state": {"type": "object", "properties": topics},
        },
        "required": ["at", "state"],
    }


def error_responses(*, missing: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the errors that every path has; ``missing``: also 404."""
    described = {
        400: "A parameter is wrong; `parameter` and `value` say which, `detail` what to do.",
        401: "A token is needed.",
        403: "The token lacks the scope.",
        **({404: "There is no such thing."} if missing else {}),
        406: "Not to be had in that form; `choices` or `detail` name those there are.",
        429: "Too many requests; Retry-After says when to come back.",
        503: "The database is away or too slow; Retry-After says when to come back.",
    }
    return {status: _problem(status, text) for status, text in described.items()}


def _problem(status: int, description: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "description": "Problem details (RFC 9457).",
        "properties": {
            "status": {"type": "integer", "const": status},
            "title": {"type": "string"},
            "detail": {"type": "string"},
            "parameter": {"type": "string"},
            "value": {"type": "string"},
        },
        "required": ["status", "title", "detail"],
    }
    return {"description": description, "content": {PROBLEM_TYPE: {"schema": schema}}}
