"""What cannot be taken in: dead letters with reason, place and bytes, and what nobody thought of.

An unforeseen failure makes a dead letter, not the end of a city: the broker would hand the same
message to every next start of the gateway.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import NoReturn

from civicstream.errors import RejectedReading
from civicstream.events import DeadLetter
from civicstream.kafka.dead_letter import Origin, make_dead_letter
from civicstream.kinds import KINDS
from ingest.city_messages import MessageKind, Refusal
from ingest.readings import Decoded

__all__ = ["Guard", "refuse_oversized", "refused_message", "rejected_readings"]

log = logging.getLogger(__name__)

# base64 makes four bytes of three, and Kafka refuses records over 1 MB by default.
_MAX_KEPT = 512 * 1024
_MEMBERS_LISTED = 20

# One message a kind and quarter of an hour: a sender that repeats itself must not fill the disk.
_LOGGED_EVERY_S = 900.0


def refuse_oversized(payload: bytes, limit: int) -> NoReturn:
    raise RejectedReading(
        "payload_too_large",
        f"payload of {len(payload)} bytes is over the limit of {limit}; send fewer readings at "
        "once, or raise CIVICSTREAM_GATEWAY__MAX_PAYLOAD_BYTES",
    )


def rejected_readings(
    gateway: str,
    kind: str,
    topic: str,
    payload: bytes,
    decoded: Decoded,
    now_ms: int,
    max_payload: int,
) -> DeadLetter:
    """Return the dead letter for those readings of a message that were rejected."""
    bad = decoded.bad
    total = len(bad) + len(decoded.rows)
    detail = bad[0].detail
    if total > 1:
        detail = f"{len(bad)} of {total} readings rejected; [{bad[0].index}] {detail}"
    return make_dead_letter(
        "gateway",
        gateway,
        Origin(topic),
        payload,
        bad[0].reason,
        detail,
        at_ms=now_ms,
        kind=kind if kind in KINDS else None,
        whole_up_to=min(max_payload, _MAX_KEPT),
        count=len(bad),
        members=[(b.index, b.detail) for b in bad[:_MEMBERS_LISTED]] if total > 1 else [],
    )


def refused_message(
    gateway: str, kind: MessageKind, refusal: Refusal, size: int, now_ms: int
) -> DeadLetter:
    """Return the dead letter for a report or a unit's message; ``size`` in bytes as it came."""
    return make_dead_letter(
        "gateway",
        gateway,
        Origin(refusal.topic),
        refusal.payload,
        refusal.reason,
        refusal.detail,
        at_ms=now_ms,
        kind=kind,
        size=size,
    )


class Guard:
    """Turns an exception that is no rejection into one, and logs it, throttled, by kind."""

    def __init__(self) -> None:
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def rejection(self, kind: str, error: Exception, now: float) -> RejectedReading:
        """Return the rejection of a message of ``kind``; ``now`` is the monotonic clock [s].

        Neither it nor the log repeats the error's own words: they may quote a citizen.
        """
        what = f"{type(error).__name__} in {_place(error)}"
        if now - self._logged_at.get(kind, -_LOGGED_EVERY_S) >= _LOGGED_EVERY_S:
            self._logged_at[kind] = now
            log.error(
                "a defect of the gateway, please report it: a %s message became a dead letter "
                "internal_error (%s); %d more of this kind since the last such line",
                kind,
                what,
                self._unlogged.pop(kind, 0),
            )
        else:
            self._unlogged[kind] = self._unlogged.get(kind, 0) + 1
        return RejectedReading(
            "internal_error",
            f"the gateway failed on this message ({what}), which is a defect of the gateway; the "
            "message is kept here, send it to the developers",
        )


def _place(error: Exception) -> str:
    """Return file, line and function of where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno} {last.name}"
