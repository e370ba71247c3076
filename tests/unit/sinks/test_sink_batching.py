"""Records become a batch; what could never be written is rejected before it can stall one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from civicstream.events import DeadLetter, Incident, SensorHealth, TrafficForecast
from civicstream.frames import FrameHeaders, encode
from civicstream.topics import TOPICS
from sinks.batching import Batch, Routes
from sinks.records import KafkaRecord, TopicPartition
from tests.kit.sink_events import AT, forecast, forecast_row, health, incident
from tests.kit.sink_rows import noise


def batch_of(*records: tuple[str, bytes, list[tuple[str, bytes]]]) -> Batch:
    batch = Batch(Routes("city"), "sink-1")
    batch.add(
        [
            KafkaRecord(TopicPartition(f"city.{topic}", 0), offset, 0, headers, value)
            for offset, (topic, value, headers) in enumerate(records)
        ],
        AT,
    )
    return batch


def event(topic: str, what: msgspec.Struct) -> tuple[str, bytes, list[tuple[str, bytes]]]:
    return topic, msgspec.json.encode(what), []


def dead_letter(**changes: Any) -> DeadLetter:
    whole = DeadLetter(
        stage="gateway",
        reason="r",
        detail="d",
        topic="t",
        received_at=AT,
        payload=b"x",
        payload_bytes=1,
        partition=0,
        offset=5,
    )
    return msgspec.structs.replace(whole, **changes)


def test_events_are_sorted_by_what_they_are_and_counted_as_rows() -> None:
    rows = (forecast_row("s1", [1.0, None]), forecast_row("s2", [2.0, 3.0]))
    batch = batch_of(
        event("incidents", incident()),
        event("health", health()),
        event("incidents", incident(version=2)),
        event("forecasts", forecast(*rows)),
    )
    assert [i.version for i in batch.histories[Incident]] == [1, 2]  # type: ignore[attr-defined]
    assert batch.histories[SensorHealth] == [health()]
    assert batch.forecasts == [forecast(*rows)]
    assert batch.rows == 3 + 4
    assert not batch.rejected


def test_the_sink_reads_every_topic_whose_records_it_keeps() -> None:
    kept = {name.removeprefix("city.") for name in Routes("city").topics}
    assert kept <= set(TOPICS)
    assert kept >= {"incidents", "forecasts", "health", "anomalies"}


@pytest.mark.parametrize(
    ("name", "value"), [("seq", 2**63), ("epoch", -1), ("ingested_at", 10**30)]
)
def test_a_frame_whose_numbers_no_column_holds_is_rejected(name: str, value: int) -> None:
    numbers = {"epoch": 1, "seq": 0, "count": 1, "ingested_at": AT} | {name: value}
    headers = FrameHeaders("gateway-1", **numbers).to_kafka()
    batch = batch_of(("frames.noise", encode(noise("a", [(0, AT, 50)])), headers))
    assert [r.reason for r in batch.rejected] == ["frame_headers"]
    assert f"{name} {value} is outside" in batch.rejected[0].detail
    assert not batch.frames


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 2**31},
        {"offset": 2**63},
        {"partition": -1},
        {"payload_bytes": 2**70},
        {"received_at": 10**17},
    ],
)
def test_a_dead_letter_whose_numbers_no_column_holds_is_itself_one(changes: Any) -> None:
    batch = batch_of(
        event("deadletter", dead_letter(**changes)), event("deadletter", dead_letter())
    )
    assert [r.reason for r in batch.rejected] == ["foreign_record"]
    assert len(batch.dead_letters) == 1


def test_a_forecast_with_a_value_too_many_is_no_forecast() -> None:
    short = forecast(forecast_row("s1", [1.0, 2.0, 3.0]), horizons_min=(15, 30))
    batch = batch_of(event("forecasts", short))
    assert "segment 's1': speed_kmh has 3 values for 2 horizons" in batch.rejected[0].detail
    assert batch.forecasts == []


def test_a_forecast_of_no_segments_is_no_rows() -> None:
    empty = TrafficForecast("north", AT, [15], AT, [])
    batch = batch_of(event("forecasts", empty))
    assert (batch.rows, len(batch.records), batch.rejected) == (0, 1, [])


def test_a_provisional_result_is_passed_over_by_its_headers_alone() -> None:
    headers = [("ce_id", b"traffic/north/1780000000000/provisional/7")]
    batch = batch_of(("results.traffic", b"not even JSON", headers))
    assert (batch.rows, batch.rejected) == (0, [])
    assert batch.next == {TopicPartition("city.results.traffic", 0): 1}


def test_a_batch_is_halved_by_records_and_nothing_is_lost() -> None:
    whole = batch_of(*(event("incidents", incident(version=n)) for n in range(5)))
    first, second = whole.halves(AT)
    versions = [[i.version for i in half.histories[Incident]] for half in (first, second)]  # type: ignore[attr-defined]
    assert versions == [[0, 1], [2, 3, 4]]
    place = TopicPartition("city.incidents", 0)
    assert (first.next[place], second.next[place]) == (2, whole.next[place])


def test_a_batch_knows_how_many_days_its_readings_span() -> None:
    day = 86_400_000
    frame = noise("north", [(0, AT + n * day, 50.0) for n in range(40)])
    headers = FrameHeaders("gateway-1", 1, 0, 40, AT).to_kafka()
    batch = batch_of(("frames.noise", encode(frame), headers))
    assert len(batch.days) == 40


def test_the_time_of_the_newest_record_is_kept_where_kafka_gives_it() -> None:
    batch = Batch(Routes("city"), "sink-1")
    place = TopicPartition("city.incidents", 0)
    value = msgspec.json.encode(incident())
    for offset, at in enumerate((None, 30, 20)):
        batch.add([KafkaRecord(place, offset, 0, [], value, append_time=at)], AT)
    assert batch.newest_at == {place: 30}
