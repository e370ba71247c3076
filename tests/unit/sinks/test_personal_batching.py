"""Personal records in a batch: in the order they came, and no byte of a bad one goes further."""

from __future__ import annotations

import msgspec
import pytest

from sinks.batching import Batch, Routes
from sinks.personal_records import Forget
from sinks.records import KafkaRecord, TopicPartition
from tests.kit.citizen_events import OTHER, SOMEONE, personal
from tests.kit.sink_events import AT


def batch_of(*records: tuple[bytes | None, bytes | None, dict[str, bytes]]) -> Batch:
    """Return a batch of the topic ``private``: (value, key, headers), Kafka's time is AT."""
    batch = Batch(Routes("city"), "sink-1")
    place = TopicPartition("city.private", 0)
    batch.add(
        [
            KafkaRecord(place, offset, AT, list(headers.items()), value, key)
            for offset, (value, key, headers) in enumerate(records)
        ],
        AT,
    )
    return batch


def test_records_and_null_records_keep_their_order() -> None:
    sent = personal()
    batch = batch_of(
        (msgspec.json.encode(sent), SOMEONE.encode(), {}),
        (None, SOMEONE.encode(), {"until": b"17", "by": b"clerk"}),
        (msgspec.json.encode(sent), SOMEONE.encode(), {}),
    )
    assert [said for said, _ in batch.personal] == [sent, Forget(SOMEONE, 17, "clerk"), sent]
    assert (batch.rows, batch.rejected) == (3, [])


def test_a_null_record_of_another_tool_counts_from_kafkas_own_time() -> None:
    batch = batch_of((None, OTHER.encode(), {}))
    assert [said for said, _ in batch.personal] == [Forget(OTHER, AT, "unknown")]


@pytest.mark.parametrize(
    ("value", "key", "headers"),
    [
        (b'{"pseudonym": "Jane", "at": "Jane"}', b"Jane", {}),
        (b"Jane \xff", b"Jane", {}),
        (None, b"Jane\xff", {}),
        (None, None, {"by": b"Jane"}),
        (None, b"", {}),
        (None, b"Jane", {"until": b"Jane"}),
        (None, b"Jane", {"until": b"-1"}),
        (None, b"Jane", {"until": b"9" * 30}),
    ],
)
def test_what_is_no_personal_record_becomes_a_letter_that_repeats_nothing(
    value: bytes | None, key: bytes | None, headers: dict[str, bytes]
) -> None:
    batch = batch_of((value, key, headers), (msgspec.json.encode(personal()), b"", {}))
    (dead_letter,) = batch.rejected
    assert (dead_letter.reason, dead_letter.payload) == ("foreign_record", b"")
    assert dead_letter.payload_bytes == len(value or b"")
    assert (dead_letter.partition, dead_letter.offset) == (0, 0)
    assert b"Jane" not in msgspec.json.encode(dead_letter)
    assert len(batch.personal) == 1
    assert batch.next[TopicPartition("city.private", 0)] == 2
