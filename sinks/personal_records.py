"""Citizens' sealed data into schema ``private``, where the sink may put but not look.

A null record under a pseudonym says that the person is to be forgotten: what came before it is
erased, what comes after it is new. So the records are applied in the order of the topic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from civicstream.errors import CorruptFrame
from civicstream.postgres import Connection
from civicstream.service_events import PersonalRecord
from sinks.bisecting import write_around_bad_rows
from sinks.records import KafkaRecord
from sinks.writer import NOT_STORABLE

__all__ = [
    "BY",
    "UNTIL",
    "Arrived",
    "Erased",
    "Forget",
    "apply_forget",
    "decode_personal",
    "write_personal",
]

UNTIL, BY = "until", "by"
"""Headers of a null record: epoch ms up to which reports are forgotten, and who asked for it."""

_LAST_MS = 253_402_300_800_000  # the year 10,000


@dataclass(frozen=True)
class Forget:
    """Who is to be forgotten, with all reports received up to ``until`` [epoch ms]."""

    pseudonym: str
    until: int
    by: str


class Erased(NamedTuple):
    """What was erased of a person, in records, reports and dead letters."""

    sealed: int
    reports: int
    dead_letters: int


Arrived = tuple[PersonalRecord | Forget, KafkaRecord]
"""What a record says, and the record."""

_Apply = Callable[[Connection, Sequence[Any]], int]


def decode_personal(record: KafkaRecord) -> PersonalRecord | Forget:
    """Return what a record of the topic ``private`` says; raise CorruptFrame that repeats nothing
    of it.
    """
    if record.value is None:
        return _forget(record)
    try:
        return msgspec.json.decode(record.value, type=PersonalRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise CorruptFrame("foreign_record", "not a PersonalRecord") from None


def _forget(record: KafkaRecord) -> Forget:
    headers = dict(record.headers)
    try:
        pseudonym = (record.key or b"").decode()
        until = int(headers.get(UNTIL, record.timestamp))
    except ValueError:
        raise CorruptFrame(
            "foreign_record", "a null record whose key or header `until` cannot be read"
        ) from None
    if not pseudonym or not 0 <= until < _LAST_MS:
        raise CorruptFrame("foreign_record", f"a null record without key, or until {until} ms")
    return Forget(pseudonym, until, headers.get(BY, b"").decode(errors="replace") or "unknown")


def write_personal(
    connection: Connection, records: Sequence[Arrived], *, careful: bool
) -> tuple[int, list[tuple[KafkaRecord, Exception]]]:
    """Apply the records in order; return how many sealed ones were new, and what was refused.

    Only ``careful`` writes around what the database does not take.
    """
    new = 0
    refused: list[tuple[KafkaRecord, Exception]] = []
    for forgets, group in groupby(records, key=lambda arrived: isinstance(arrived[0], Forget)):
        run = list(group)
        apply = _forget_all if forgets else _store_all
        if careful:
            stored, bad = _around_bad_ones(connection, run, apply)
            refused += [(run[index][1], error) for index, error in bad]
        else:
            stored = apply(connection, [said for said, _ in run])
        new += stored
    return new, refused


def _around_bad_ones(
    connection: Connection, run: Sequence[Arrived], apply: _Apply
) -> tuple[int, list[tuple[int, Exception]]]:
    new = 0

    def attempt(start: int, stop: int) -> Exception | None:
        nonlocal new
        try:
            with connection.transaction():
                stored = apply(connection, [said for said, _ in run[start:stop]])
        except NOT_STORABLE as error:
            return error
        new += stored
        return None

    bad = write_around_bad_rows(len(run), attempt)
    return new, bad


def _store_all(connection: Connection, records: Sequence[Any]) -> int:
    row = connection.execute(
        "SELECT private.store(%s::text[], %s::text[], %s::bigint[], %s::text[])",
        [[getattr(r, name) for r in records] for name in ("report", "pseudonym", "at", "sealed")],
    ).fetchone()
    return int(row[0]) if row else 0


def _forget_all(connection: Connection, forgets: Sequence[Any]) -> int:
    for forget in forgets:
        apply_forget(connection, forget)
    return 0


def apply_forget(connection: Connection, forget: Forget) -> Erased:
    """Erase what is sealed, detach the reports, empty the dead letters; return how many."""
    row = connection.execute(
        "SELECT sealed_erased, reports_detached, letters_emptied "
        "FROM private.forget(%s, to_timestamp(%s / 1000.0), %s)",
        (forget.pseudonym, forget.until, forget.by),
    ).fetchone()
    return Erased(*row) if row else Erased(0, 0, 0)
