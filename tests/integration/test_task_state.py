"""A task's results, state and input offsets on Kafka: all or nothing, by one owner at a time."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest

from civicstream.cloudevents import cloud_headers
from civicstream.errors import OwnershipLost
from civicstream.events import DeadLetter, FrameGap
from civicstream.kafka import clients as kafka_clients
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from stack.servers.kafka_broker import BrokerOptions, start_broker
from stack.servers.processes import free_port
from streams.runtime.kafka_connection import plain_producer, record_limit
from streams.runtime.records import Record
from streams.runtime.task_state import Input
from tests.kit.task_runs import HeldUp, opened
from tests.kit.worker_runs import read_topic


def result(number: int, size: int = 10) -> Record:
    headers = cloud_headers("case", source="/test", event_id=str(number), time_ms=1)
    return Record("cases", f"area-{number}", b"x" * size, headers)


def published(kafka: KafkaSettings, topic: str = "cases") -> list[bytes]:
    return [record.key for record in read_topic(kafka, topic)]


def test_state_results_and_offsets_come_back_as_committed(kafka: KafkaSettings) -> None:
    create_topics(kafka)
    large = bytes(range(256)) * 20_000  # 5 MB: more than a record may have

    async def first() -> None:
        async with opened(kafka, "dispatch") as (state, items):
            assert items == {}
            await state.commit([result(1)], {"a": b"1", "b": large}, {"t": Input(4, 6, "id")})
            await state.commit([], {"a": b"2", "gone": b"x"})
            await state.commit([], {"gone": None, "b": large[:300_000]})

    async def second() -> None:
        async with opened(kafka, "dispatch") as (state, items):
            assert items == {"a": b"2", "b": large[:300_000]}
            assert state.inputs == {"t": Input(4, 6, "id")}

    asyncio.run(first())
    asyncio.run(second())
    assert published(kafka) == [b"area-1"]
    last = {record.key: record.value for record in read_topic(kafka, "state.dispatch")}
    assert last[b"gone#0"] is None, "what is dropped is a null record, which compaction takes away"
    assert all(len(value or b"") < record_limit("state.dispatch") for value in last.values())


def test_an_owner_cut_off_in_the_middle_of_a_transaction_is_fenced(kafka: KafkaSettings) -> None:
    create_topics(kafka)

    async def run() -> None:
        async with opened(kafka, "dispatch") as (cut_off, _):
            await cut_off.commit([result(1)], {"task": b"open"})
            held = HeldUp(cut_off)
            late = asyncio.create_task(cut_off.commit([result(2)], {"task": b"stale"}))
            await held.reached.wait()
            async with opened(kafka, "dispatch") as (successor, items):
                assert items == {"task": b"open"}
                await successor.commit([result(3)], {"task": b"closed"})
                held.go_on()
                with pytest.raises(OwnershipLost, match="task dispatch partition 0"):
                    await late
                with pytest.raises(OwnershipLost):
                    await cut_off.commit([result(4)], {"task": b"stale"})
                await successor.commit([result(5)], {"more": b"1"})
        async with opened(kafka, "dispatch") as (_, items):
            assert items == {"task": b"closed", "more": b"1"}

    asyncio.run(run())
    assert published(kafka) == [b"area-1", b"area-3", b"area-5"]


def test_a_transaction_given_up_never_happened_and_holds_nobody_up(kafka: KafkaSettings) -> None:
    create_topics(kafka)

    async def run() -> None:
        async with opened(kafka, "network") as (state, _):
            held = HeldUp(state)
            given_up = asyncio.create_task(state.commit([result(1)], {"a": b"1"}))
            await held.reached.wait()
            given_up.cancel()
            await asyncio.wait([given_up])
        async with opened(kafka, "network") as (state, items):
            assert items == {}
            await state.commit([result(2)])

    asyncio.run(run())
    assert published(kafka) == [b"area-2"]


def test_closing_ends_a_commit_under_way_as_lost(kafka: KafkaSettings) -> None:
    create_topics(kafka)

    async def run() -> None:
        async with opened(kafka, "frames") as (state, _):
            held = HeldUp(state)
            under_way = asyncio.create_task(state.commit([result(1)]))
            await held.reached.wait()
            await state.close()
            held.go_on()
            with pytest.raises(OwnershipLost):
                await under_way

    asyncio.run(run())
    assert published(kafka) == []


def test_a_record_over_its_topics_limit_is_a_dead_letter_with_a_name(
    kafka: KafkaSettings, caplog: pytest.LogCaptureFixture
) -> None:
    create_topics(kafka)
    size = record_limit("cases") + 1

    async def run() -> None:
        async with opened(kafka, "dispatch") as (state, _):
            with caplog.at_level(logging.ERROR):
                await state.commit([result(1), result(2, size), result(3)], {"a": b"1"})

    asyncio.run(run())
    assert published(kafka) == [b"area-1", b"area-3"]
    (record,) = read_topic(kafka, "deadletter")
    letter = msgspec.json.decode(record.value, type=DeadLetter)
    assert (letter.reason, letter.topic, letter.payload_bytes) == (
        "record_too_large",
        "cases",
        size,
    )
    for word in ("cases", "area-2", str(record_limit("cases"))):
        assert word in letter.detail
        assert word in caplog.text


def test_no_client_of_the_worker_makes_the_broker_create_a_topic(tmp_path) -> None:  # type: ignore[no-untyped-def]
    port = free_port()
    willing = {"auto.create.topics.enable": "true"}
    broker = start_broker(BrokerOptions(port, tmp_path / "kafka", fsync=False, properties=willing))
    try:
        kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", topic_prefix="absent")

        async def run() -> None:
            producer = plain_producer(kafka)
            await producer.start()
            try:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(producer.send("absent.cases", b"x"), 3)
            finally:
                await producer.stop()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5), opened(kafka, "dispatch"):
                    pass

        asyncio.run(run())
        admin = kafka_clients.admin_client(kafka)
        names = {name for name in admin.list_topics() if not name.startswith("__")}
        admin.close()
        assert names == set()
    finally:
        broker.stop()


def test_gap_events_fit_their_topic() -> None:
    """The sink and the alerts read what a task says of a log that is not as it was."""
    from civicstream.kafka.log_gaps import LogGap
    from streams.runtime.tasks import _gap_record

    record = _gap_record(
        LogGap(
            topic="city.frames.air",
            partition=2,
            topic_id="an id",
            reason="log_truncated",
            first=70,
            end=90,
            read_from=70,
        )
    )
    event = msgspec.json.decode(record.value, type=FrameGap)
    assert (event.topic, event.partition, event.first, event.missing) == (
        "city.frames.air",
        2,
        70,
        20,
    )
