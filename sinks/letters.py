"""Dead letters: those the sink writes itself, and those of every stage as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from civicstream.errors import DataError
from civicstream.events import DeadLetter
from civicstream.kafka.dead_letter import Origin, dead_letter
from sinks.records import KafkaRecord

__all__ = [
    "INSERT",
    "StoredLetter",
    "corrupt_record",
    "letter_row",
    "printable",
    "row_letter",
]

_COLUMNS = (
    "source",
    "id",
    "received_at",
    "stage",
    "instance",
    "reason",
    "detail",
    "kind",
    "count",
    "topic",
    "partition",
    '"offset"',
    "members",
    "payload",
    "payload_bytes",
)
_PLACES = ", ".join("to_timestamp(%s)" if c == "received_at" else "%s" for c in _COLUMNS)
INSERT = (
    f"INSERT INTO dead_letters ({', '.join(_COLUMNS)}) VALUES ({_PLACES}) "  # noqa: S608 names from above
    "ON CONFLICT (source, id) DO NOTHING"
)


@dataclass(frozen=True)
class StoredLetter:
    """A dead letter with its CloudEvents source and id, the same when it is sent again."""

    source: str
    id: str
    letter: DeadLetter

    @classmethod
    def of(cls, record: KafkaRecord, letter: DeadLetter) -> StoredLetter:
        """Take source and id from the headers; without them the record's place identifies it."""
        headers = dict(record.headers)
        source, event_id = headers.get("ce_source"), headers.get("ce_id")
        if source and event_id:
            return cls(source.decode(errors="replace"), event_id.decode(errors="replace"), letter)
        place = record.place
        return cls(place.topic, f"{place.partition}/{record.offset}/{record.timestamp}", letter)


def printable(text: str | None) -> str | None:
    """Return the text without the NUL that PostgreSQL cannot store in text."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if text is not None else None


def letter_row(stored: StoredLetter) -> Sequence[Any]:
    """Return the values for ``INSERT``."""
    letter = stored.letter
    members = [(index, printable(sentence)) for index, sentence in letter.members]
    return (
        printable(stored.source),
        printable(stored.id),
        letter.received_at / 1000,
        printable(letter.stage),
        printable(letter.instance),
        printable(letter.reason),
        printable(letter.detail),
        printable(letter.kind),
        letter.count,
        printable(letter.topic),
        letter.partition,
        letter.offset,
        msgspec.json.encode(members).decode(),
        letter.payload,
        letter.payload_bytes,
    )


def row_letter(
    table: str, values: dict[str, Any], reason: str, detail: str, instance: str, now_ms: int
) -> DeadLetter:
    """Return the dead letter for a row of results or events that is not written."""
    payload = msgspec.json.encode({name: _plain(value) for name, value in values.items()})
    return dead_letter(
        "sink",
        instance,
        Origin(table),
        payload,
        reason,
        f"a row of {table}: {detail}",
        at_ms=now_ms,
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def corrupt_record(
    record: KafkaRecord, error: DataError, instance: str, now_ms: int, *, withhold: bool = False
) -> DeadLetter:
    """Return the dead letter for a record that cannot be read or stored.

    ``withhold`` leaves its bytes out, where many may read dead letters and few these.
    """
    place = record.place
    return dead_letter(
        "sink",
        instance,
        Origin(place.topic, place.partition, record.offset),
        record.value or b"",
        error.reason,
        f"{place.topic} partition {place.partition} offset {record.offset}: {error.detail}",
        at_ms=now_ms,
        withhold=withhold,
    )
