"""The payload of ``…/unit/<area>/<unit>``: where a crew is and what it does, or its decision."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec

from civicstream.errors import RejectedReading
from civicstream.report_texts import clean_text
from civicstream.service_events import CrewAction, Unit, UnitState
from ingest.json_text import shortened, why_not_json
from ingest.validation import TimeLimits, check_time, name_of

__all__ = ["decode_unit"]

Degrees = msgspec.Meta(ge=-180, le=180)
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:/-]{1,200}$")]
_AMOUNT = msgspec.Meta(ge=0, le=1e9)

# A shift may end tomorrow, never in a month: then it is seconds or another unit.
_LONGEST_SHIFT_MS = 7 * 86_400_000
_LONGEST_NOTE = 1_000


class _State(msgspec.Struct):
    ts: Any
    state: UnitState
    lon: Annotated[float, Degrees]
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    skills: Annotated[list[Name], msgspec.Meta(max_length=50)]
    shift_end: Any
    capacity: Annotated[float, _AMOUNT] = 0.0
    load: Annotated[float, _AMOUNT] = 0.0
    task: Name | None = None
    unit: str | None = None


class _Decision(msgspec.Struct):
    ts: Any
    action: Literal["accept", "reject", "start", "done"]
    allocation: Name | None = None
    task: Name | None = None
    note: str = ""
    unit: str | None = None


_states, _decisions = msgspec.json.Decoder(_State), msgspec.json.Decoder(_Decision)


def decode_unit(payload: bytes, area: str, unit: str, limits: TimeLimits) -> Unit | CrewAction:
    """Return what a unit says; raise RejectedReading that names unit, field and remedy."""
    who = f"unit {name_of(unit)}"
    try:
        decides = "action" in msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        sent = (_decisions if decides else _states).decode(payload)
    except msgspec.ValidationError as error:
        raise RejectedReading("wrong_shape", f"{who}: {shortened(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise why_not_json(payload, f"{who}: the payload") from None
    if sent.unit is not None and sent.unit != unit:
        raise RejectedReading(
            "unit_mismatch",
            f"{who}: the payload says unit {name_of(sent.unit)}; "
            "topic and payload must name the same one",
        )
    at = check_time(sent.ts, f"{who}: ts", limits)
    if isinstance(sent, _Decision):
        return _action(sent, area, unit, at)
    farthest = TimeLimits(limits.now_ms, limits.now_ms + _LONGEST_SHIFT_MS)
    return Unit(
        id=unit,
        area=area,
        state=sent.state,
        skills=sent.skills,
        lon=sent.lon,
        lat=sent.lat,
        shift_end=check_time(sent.shift_end, f"{who}: shift_end", farthest),
        capacity=sent.capacity,
        load=sent.load,
        at=at,
        task=sent.task,
    )


def _action(sent: _Decision, area: str, unit: str, at: int) -> CrewAction:
    who = f"unit {name_of(unit)}"
    if (sent.allocation is None) == (sent.task is None):
        raise RejectedReading(
            "subject_missing",
            f"{who}: a decision is about one thing; send either 'allocation' or 'task'",
        )
    subject = sent.task or f"allocation/{str(sent.allocation).removeprefix('allocation/')}"
    if sent.task is not None and sent.task.partition("/")[0] not in {"case", "incident"}:
        raise RejectedReading(
            "subject_malformed", f"{who}: task must be case/<id> or incident/<id>"
        )
    # The same when it is sent again, whoever takes it in.
    said = f"{unit}\0{subject}\0{sent.action}\0{at}".encode()
    return CrewAction(
        id=hashlib.blake2b(said, digest_size=16).hexdigest(),
        subject=subject,
        action=sent.action,
        area=area,
        by=f"unit/{unit}",
        at=at,
        note=clean_text(sent.note, "note", _LONGEST_NOTE),
    )
