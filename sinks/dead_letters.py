"""Dead letters: those the sink writes itself, and those of every stage as rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from civicstream.errors import DataError
from civicstream.events import DeadLetter
from civicstream.kafka.dead_letter import Origin, make_dead_letter
from sinks.records import KafkaRecord

__all__ = [
    "INSERT",
    "StoredDeadLetter",
    "corrupt_record",
    "dead_letter_of_row",
    "dead_letter_row",
    "printable",
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
class StoredDeadLetter:
    """A dead letter with its CloudEvents source and id, the same when it is sent again."""

    source: str
    id: str
    dead_letter: DeadLetter

    @classmethod
    def of(cls, record: KafkaRecord, dead_letter: DeadLetter) -> StoredDeadLetter:
        """Take source and id from the headers; without them the record's place identifies it."""
        headers = dict(record.headers)
        source, event_id = headers.get("ce_source"), headers.get("ce_id")
        if source and event_id:
            return cls(
                source.decode(errors="replace"), event_id.decode(errors="replace"), dead_letter
            )
        topic_partition = record.topic_partition
        return cls(
            topic_partition.topic,
            f"{topic_partition.partition}/{record.offset}/{record.timestamp}",
            dead_letter,
        )


def printable(text: str | None) -> str | None:
    """Return the text without the NUL that PostgreSQL cannot store in text."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if text is not None else None


def dead_letter_row(stored: StoredDeadLetter) -> Sequence[Any]:
    """Return the values for ``INSERT``."""
    dead_letter = stored.dead_letter
    members = [(index, printable(sentence)) for index, sentence in dead_letter.members]
    return (
        printable(stored.source),
        printable(stored.id),
        dead_letter.received_at / 1000,
        printable(dead_letter.stage),
        printable(dead_letter.instance),
        printable(dead_letter.reason),
        printable(dead_letter.detail),
        printable(dead_letter.kind),
        dead_letter.count,
        printable(dead_letter.topic),
        dead_letter.partition,
        dead_letter.offset,
        msgspec.json.encode(members).decode(),
        dead_letter.payload,
        dead_letter.payload_bytes,
    )


def dead_letter_of_row(
    table: str, values: dict[str, Any], reason: str, detail: str, instance: str, now_ms: int
) -> DeadLetter:
    """Return the dead letter for a row of results or events that is not written."""
    payload = msgspec.json.encode({name: _plain(value) for name, value in values.items()})
    return make_dead_letter(
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
    topic, partition = record.topic_partition
    return make_dead_letter(
        "sink",
        instance,
        Origin(topic, partition, record.offset),
        record.value or b"",
        error.reason,
        f"{topic} partition {partition} offset {record.offset}: {error.detail}",
        at_ms=now_ms,
        withhold=withhold,
    )
