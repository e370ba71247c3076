"""The payload of ``…/report/<area>/<client>``: decoded, checked in form, nothing sealed yet."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from civicstream.errors import RejectedReading
from civicstream.report_making import Submission
from ingest.json_text import why_not_json
from ingest.validation import TimeLimits, check_time

__all__ = ["decode_report"]

_TIME = re.compile(r"[0-9TtZz:+. -]{1,40}")


class _Message(msgspec.Struct):
    """What a client may send; other fields are ignored."""

    reference: str | int
    service: str
    ts: Any
    lon: float | None = None
    lat: float | None = None
    address_string: str | None = None
    address_id: str | None = None
    description: str = ""
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    notify: str | None = None
    media_url: str | None = None
    attributes: dict[str, str | int | float | list[str]] = {}


_decoder = msgspec.json.Decoder(_Message)


def decode_report(payload: bytes, area: str, client: str, limits: TimeLimits) -> Submission:
    """Return the report in a payload; raise RejectedReading that repeats nothing of its texts."""
    try:
        sent = _decoder.decode(payload)
    except msgspec.ValidationError as error:
        # says the field and the types, never the value
        raise RejectedReading("wrong_shape", f"report: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise why_not_json(payload, "report: the payload") from None
    if (sent.lon is None) != (sent.lat is None):
        raise RejectedReading("place_missing", "report: lon and lat must come together")
    place = None if sent.lon is None or sent.lat is None else (sent.lon, sent.lat)
    return Submission(
        channel="mqtt",
        identity=f"mqtt:{client}",
        reference=str(sent.reference),
        service=sent.service,
        reported_at=_time(sent.ts, limits),
        area=area,
        place=place,
        address=sent.address_string,
        address_id=sent.address_id,
        description=sent.description,
        media_url=sent.media_url,
        answers={code: _values(value) for code, value in sent.attributes.items()},
        person={
            "client": client,
            "name": sent.name,
            "email": sent.email,
            "phone": sent.phone,
            "notify": sent.notify,
        },
    )


def _time(ts: object, limits: TimeLimits) -> int:
    if isinstance(ts, str) and not _TIME.fullmatch(ts):  # could be anything, so it is not shown
        raise RejectedReading(
            "time_malformed", "report: ts is not RFC 3339, e.g. 2026-05-04T08:15:30Z"
        )
    return check_time(ts, "report: ts", limits)


def _values(value: str | float | list[str]) -> list[str]:
    return value if isinstance(value, list) else [str(value)]
