"""Payloads to rows: one reading, an array of readings, or a SenML pack.

Good payloads take the fast way: a msgspec decoder built from the kind's declaration parses and
checks types and ranges in one pass. Anything it does not accept goes to ``validation``, member
by member, which accepts after all (SenML) or says what is wrong with each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from civicstream.errors import RejectedReading
from civicstream.kinds import Kind, Measure
from civicstream.reading_age import MaxAge
from ingest import senml
from ingest.json_text import parse_json
from ingest.validation import (
    LARGEST_NUMBER,
    AwareDatetime,
    Row,
    TimeLimits,
    check_reading,
    name_of,
    to_ms,
)

__all__ = ["BadMember", "Decoded", "ReadingDecoder"]


@dataclass(frozen=True, slots=True)
class BadMember:
    """A rejected reading and its index in the payload's array (0 for a single one)."""

    index: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a payload held: the good rows and the bad members; one of the two is not empty."""

    rows: list[Row]
    bad: list[BadMember] = field(default_factory=list)


class ReadingDecoder:
    """Decodes the payloads of one kind."""

    def __init__(self, kind: Kind, *, max_age: MaxAge, max_future_skew_ms: int) -> None:
        self.kind = kind
        self._max_age = max_age
        self._skew_ms = max_future_skew_ms
        self._received_ms = self._oldest_ms = self._newest_ms = 0
        self._struct = _struct(kind)
        self._decoder = msgspec.json.Decoder(self._struct | list[self._struct])  # type: ignore[name-defined]
        self._row = attrgetter("ts", *kind.measure_names)
        self._nothing = None if kind.required else (None,) * len(kind.measures)

    def decode(self, payload: bytes, sensor: str, received_ms: int) -> Decoded:
        """Return the payload's rows and bad members."""
        if received_ms != self._received_ms:  # the same for some hundred messages
            self._received_ms = received_ms
            self._oldest_ms = self._max_age.oldest_ms(received_ms)
            self._newest_ms = received_ms + self._skew_ms
        try:
            found = self._decoder.decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return self._judge(payload, sensor, received_ms)
        if type(found) is self._struct:
            row = self._accept(found, sensor)
            if row is not None:
                return Decoded([row])
        elif found:
            rows = [self._accept(member, sensor) for member in found]
            if None not in rows:
                return Decoded(rows)  # type: ignore[arg-type]
        return self._judge(payload, sensor, received_ms)

    def _accept(self, member: Any, sensor: str) -> Row | None:
        """Return the row of a member that the decoder passed, None if it needs judging."""
        row: Row = self._row(member)
        ts = row[0]
        if type(ts) is datetime:
            ts = to_ms(ts)
            row = (ts, *row[1:])
        if not self._oldest_ms <= ts <= self._newest_ms:
            return None
        if member.sensor is not None and member.sensor != sensor:
            return None
        if self._nothing is not None and row[1:] == self._nothing:
            return None
        return row

    def _judge(self, payload: bytes, sensor: str, received_ms: int) -> Decoded:
        try:
            document = parse_json(payload, f"sensor {name_of(sensor)}: the payload")
            members = self._members(document, sensor, received_ms)
        except RejectedReading as error:
            return Decoded([], [BadMember(0, error.reason, error.detail)])
        limits = TimeLimits(received_ms, received_ms + self._skew_ms, self._max_age)
        rows: list[Row] = []
        bad: list[BadMember] = []
        for index, member in members:
            try:
                if isinstance(member, RejectedReading):
                    raise member
                rows.append(check_reading(self.kind, member, sensor, limits))
            except RejectedReading as error:
                bad.append(BadMember(index, error.reason, error.detail))
        return Decoded(rows, bad)

    def _members(
        self, document: Any, sensor: str, received_ms: int
    ) -> Iterable[tuple[int, object]]:
        if isinstance(document, dict):
            return [(0, document)]
        if not isinstance(document, list):
            raise RejectedReading(
                "wrong_shape",
                f"sensor {name_of(sensor)}: expected a reading, an array of readings or a SenML "
                f"pack, found {name_of(document)}",
            )
        if not senml.is_pack(document):
            members: list[tuple[int, object]] = list(enumerate(document))
        else:
            members = list(senml.readings(document, self.kind, sensor, received_ms=received_ms))
        if not members:
            raise RejectedReading(
                "empty_payload", f"sensor {name_of(sensor)}: the array holds no reading"
            )
        return members


def _struct(kind: Kind) -> Any:
    """Return the msgspec struct of a reading; kw_only, because required fields come mixed."""
    fields: list[Any] = [
        ("ts", int | AwareDatetime),
        ("sensor", str | None, None),
    ]
    for measure in kind.measures:
        value = _value_type(measure)
        fields.append(
            (measure.name, value) if measure.required else (measure.name, value | None, None)
        )
    return msgspec.defstruct(f"{kind.name.title()}Reading", fields, kw_only=True, gc=False)


def _value_type(measure: Measure) -> Any:
    base: type = int if measure.integer else float
    low = max(measure.minimum, -LARGEST_NUMBER)
    high = min(measure.maximum, LARGEST_NUMBER - (base is int))  # msgspec takes limits in int64
    return Annotated[base, msgspec.Meta(ge=base(low), le=base(high))]
