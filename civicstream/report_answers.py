"""Answers to the questions of a service definition, checked (GeoReport v2, attribute[code])."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from civicstream.errors import RejectedReading
from civicstream.personal import mask_contacts
from civicstream.report_texts import clean_line, clean_text
from civicstream.services import Attribute, ServiceType

__all__ = ["check_answers", "require_answers"]

_LONGEST_ANSWER = 1_000
_DATE = re.compile(r"\d{4}-\d\d-\d\d([Tt ].*)?")


def check_answers(service: ServiceType, given: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the answers by attribute code, texts cleaned and contacts in them masked.

    Raise RejectedReading for an attribute that the service does not have and for a value that
    its datatype does not allow. Empty answers count as none.
    """
    known = {a.code: a for a in service.attributes if a.variable}
    answers: dict[str, list[str]] = {}
    for code, values in given.items():
        attribute = known.get(code)
        if attribute is None:
            raise RejectedReading(
                "unknown_attribute",
                f"service {service.code!r} has no such attribute; it has "
                f"{', '.join(known) or 'none'}",
            )
        kept = [value for value in values if value.strip()]
        if len(kept) > 1 and attribute.datatype != "multivaluelist":
            raise _wrong(attribute, f"{len(kept)} values, but a {attribute.datatype} takes one")
        if kept:
            answers[code] = list(dict.fromkeys(_check(attribute, value) for value in kept))
    return answers


def require_answers(service: ServiceType, answers: Mapping[str, Sequence[str]]) -> None:
    """Raise RejectedReading that names the required attributes without an answer."""
    if missing := [code for code in service.required_attributes if not answers.get(code)]:
        raise RejectedReading(
            "attribute_missing",
            f"service {service.code!r} requires "
            + ", ".join(f"attribute[{code}]" for code in missing),
        )


def _check(attribute: Attribute, value: str) -> str:
    match attribute.datatype:
        case "singlevaluelist" | "multivaluelist":
            if value not in attribute.values:
                raise _wrong(attribute, f"expected one of {', '.join(attribute.values)}")
            return value
        case "number":
            return _number(attribute, value)
        case "datetime":
            return _datetime(attribute, value)
        case "text":
            text = clean_text(value, f"attribute[{attribute.code}]", _LONGEST_ANSWER)
        case _:
            text = clean_line(value, f"attribute[{attribute.code}]", _LONGEST_ANSWER)
    return mask_contacts(text)


def _number(attribute: Attribute, value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or len(value) > 40:
        raise _wrong(attribute, "expected a number, e.g. 12.5")
    return value.strip()


def _datetime(attribute: Attribute, value: str) -> str:
    stamp = value.strip() if _DATE.fullmatch(value.strip()) else ""
    try:
        return datetime.fromisoformat(stamp).isoformat()
    except ValueError:
        raise _wrong(attribute, "expected ISO 8601, e.g. 2026-05-04T08:15:30Z") from None


def _wrong(attribute: Attribute, what: str) -> RejectedReading:
    return RejectedReading("attribute_malformed", f"attribute[{attribute.code}]: {what}")
