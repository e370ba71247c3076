"""How every stage makes a dead letter, and the record it travels in."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import msgspec

from civicstream.cloudevents import cloud_headers
from civicstream.events import DeadLetter

__all__ = ["DeadLetterRecord", "Origin", "dead_letter_id", "dead_letter_record", "make_dead_letter"]

WHOLE_BYTES = 256 * 1024
"""Payloads up to here are kept whole: the limit the gateway has by default too."""
CUT_BYTES = 4096
"""Of larger ones so much: enough to recognise who sent it."""


_ADDRESS = re.compile(r"[^\s<>\"'@]++@[^\s<>\"'@]++|\+\d[\d /()-]{6,20}+")
_PERSONAL = re.compile(rb'"(?:email|phone)"\s*:')
_SEARCHED = 4096
"""Characters of a sentence that are kept, so that the search in it takes bounded time."""


@dataclass(frozen=True)
class Origin:
    """Where the rejected bytes were: a topic, and on Kafka the partition and offset."""

    topic: str
    partition: int | None = None
    offset: int | None = None


def _kept(payload: bytes, *, withhold: bool = False, whole_up_to: int = WHOLE_BYTES) -> bytes:
    """Return what a dead letter keeps of a payload; nothing where many may read it and few that."""
    if withhold:
        return b""
    return bytes(payload if len(payload) <= whole_up_to else payload[:CUT_BYTES])


def make_dead_letter(
    stage: str,
    instance: str | None,
    origin: Origin,
    payload: bytes,
    reason: str,
    detail: str,
    *,
    at_ms: int,
    kind: str | None = None,
    withhold: bool = False,
    whole_up_to: int = WHOLE_BYTES,
    count: int = 1,
    members: list[tuple[int, str]] | None = None,
    size: int | None = None,
) -> DeadLetter:
    """Return the dead letter of ``count`` readings or one record, rejected at ``at_ms``.

    ``withhold`` leaves the bytes out, as does a mail address or telephone number in them: many may
    read dead letters. Larger ones than ``whole_up_to`` are cut. ``size``: where ``payload`` is not
    what came. The size in it is the true one.
    """
    if not withhold and _PERSONAL.search(payload):
        withhold, detail = True, f"{detail} (payload withheld: it has personal data)"
    return DeadLetter(
        stage=stage,
        instance=instance,
        reason=reason,
        detail=_masked(detail),
        topic=origin.topic,
        partition=origin.partition,
        offset=origin.offset,
        received_at=at_ms,
        payload=_kept(payload, withhold=withhold, whole_up_to=whole_up_to),
        payload_bytes=len(payload) if size is None else size,
        kind=kind,
        count=count,
        members=members or [],
    )


def _masked(detail: str) -> str:
    """Return the sentence without addresses of people, which servers like to repeat."""
    return _ADDRESS.sub("<address>", detail[:_SEARCHED])


def dead_letter_id(dead_letter: DeadLetter) -> str:
    """Return an id that is the same when the dead letter is written again, by whichever process.

    For those of Kafka records (and of members of one); of others their bytes decide.
    """
    if dead_letter.offset is None:
        digest = hashlib.blake2b(dead_letter.payload, digest_size=16).hexdigest()
        return f"{dead_letter.topic}/{digest}"
    member = f"/{dead_letter.members[0][0]}" if dead_letter.members else ""
    return f"{dead_letter.topic}/{dead_letter.partition}/{dead_letter.offset}{member}"


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """A record for topic ``deadletter``."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def dead_letter_record(
    dead_letter: DeadLetter, source: str, event_id: str | None = None
) -> DeadLetterRecord:
    """Return the dead letter's record; ``event_id`` is ``dead_letter_id`` where none is given.

    What a stage writes again must have the same ``source`` and id: together they are its key.
    """
    headers = cloud_headers(
        "deadletter",
        source=source,
        event_id=event_id or dead_letter_id(dead_letter),
        time_ms=dead_letter.received_at,
        subject=dead_letter.topic,
    )
    return DeadLetterRecord(dead_letter.topic.encode(), msgspec.json.encode(dead_letter), headers)
