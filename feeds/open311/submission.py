"""A POSTed form as a submission: GeoReport v2, POST service request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from civicstream.city import Point
from civicstream.report_making import Submission
from feeds.open311.errors import Open311Error

__all__ = ["Form", "read_form", "read_submission"]

_MAX_FIELDS = 200
_ATTRIBUTE = re.compile(r"attribute\[([^\[\]]{1,64})\](\[\d*\])?")
# A client that gives no number of its own and tries again within this time sends one report.
_RETRY_SPAN_MS = 15 * 60_000
_PERSON = ("email", "phone", "device_id", "account_id", "first_name", "last_name")


@dataclass(frozen=True)
class Form:
    """Fields by name, the last one counting, and attributes by code with all their values."""

    fields: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, list[str]] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        """Return a field without blanks around it, None where it is absent or empty."""
        return self.fields.get(name, "").strip() or None


def read_form(body: bytes) -> Form:
    """Return the fields of an application/x-www-form-urlencoded body in UTF-8."""
    try:
        text = body.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except UnicodeDecodeError:
        raise Open311Error(400, "the form is not UTF-8") from None
    except ValueError:
        raise Open311Error(400, f"the form has more than {_MAX_FIELDS} fields") from None
    form = Form()
    for name, value in pairs:
        if matched := _ATTRIBUTE.fullmatch(name):
            form.attributes.setdefault(matched.group(1), []).append(value)
        else:
            form.fields[name] = value
    return form


def read_submission(form: Form, idempotency_key: str | None, now_ms: int) -> Submission:
    """Return the report in a form; raise Open311Error for what the specification requires."""
    service = form.get("service_code")
    if service is None:
        raise Open311Error(400, "service_code was not provided; GET services lists them")
    given = idempotency_key or form.get("reference")
    content = _digest([*sorted(form.fields.items()), *sorted(form.attributes.items())])
    person = {name: form.get(name) for name in _PERSON} | {"notify": _wish(form)}
    return Submission(
        channel="open311",
        identity=_identity(person) or f"open311:anonymous:{content}",
        reference=given or f"{content}-{now_ms // _RETRY_SPAN_MS}",
        service=service,
        reported_at=now_ms,
        place=_place(form),
        address=form.get("address_string"),
        address_id=form.get("address_id"),
        description=form.fields.get("description", ""),
        media_url=form.get("media_url"),
        answers=form.attributes,
        person=person,
    )


def _wish(form: Form) -> str | None:
    """Return how they want to be notified: our own fields, which other servers ignore."""
    by_email = (form.get("notify_by_email") or "").casefold() in {"true", "1", "yes", "on"}
    return form.get("notify_url") or ("email" if by_email else None)


def _identity(person: dict[str, str | None]) -> str | None:
    """Return who sent it: the steadiest of what was given, None for somebody unknown."""
    for name in ("device_id", "account_id", "email", "phone"):
        value = person[name]
        if value is None:
            continue
        if name == "email":
            value = value.casefold()
        elif name == "phone":
            value = re.sub(r"\D", "", value)
        return f"open311:{name}:{value}"
    return None


def _place(form: Form) -> Point | None:
    lat, lon = form.get("lat"), form.get("long")
    if lat is None and lon is None:
        if form.get("address_string") is None and form.get("address_id") is None:
            raise Open311Error(
                400, "no location was provided; send lat and long, address_string or address_id"
            )
        return None
    if lat is None or lon is None:
        raise Open311Error(400, "lat and long must be sent together")
    try:
        return float(lon), float(lat)
    except ValueError:
        raise Open311Error(400, "lat and long must be decimal degrees, e.g. 37.76524") from None


def _digest(items: Iterable[object]) -> str:
    return hashlib.blake2b(repr(list(items)).encode("utf-8"), digest_size=16).hexdigest()
