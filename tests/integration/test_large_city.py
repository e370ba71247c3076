"""A city of a thousand areas, and one of half a million segments, on Kafka's limits as they are."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from civicstream.city import Area, City
from civicstream.kafka.topic_admin import create_topics
from civicstream.service_events import Report
from civicstream.services import load_services
from civicstream.settings import KafkaSettings
from streams.dispatch.dispatch import Dispatch
from streams.frames.results import WindowResult, network_records
from streams.network.network_assembly import NetworkAssembly
from streams.runtime.kafka_connection import record_limit
from streams.runtime.records import Record
from streams.windows.network import RoadNetwork
from streams.windows.network_frames import decode
from streams.windows.traffic import SegmentMeasures, SegmentTable
from streams.windows.windows import Columns
from tests.kit.task_runs import opened
from tests.kit.worker_runs import read_topic
from tests.unit.streams.runtime.test_record_slices import RING, WINDOW, big_city

pytestmark = pytest.mark.timeout(300)

HOUR = 3_600_000
AREAS = 1_000


def report(number: int, at: int) -> Report:
    return Report(
        id=f"r{number}-{at}",
        area=f"area-{number}",
        service="pothole",
        lon=number * 0.01,
        lat=0.0,
        description="here",
        reported_at=at,
        received_at=at,
        channel="mqtt",
        reporter=f"citizen-{number}",
        reference="1",
    )


def test_the_dispatch_of_a_thousand_areas_is_remembered(kafka: KafkaSettings) -> None:
    create_topics(kafka)
    city = City(tuple(Area(f"area-{i}", f"Area {i}", RING) for i in range(AREAS)))
    services = load_services(None)
    dispatch = Dispatch(services, city)
    everything: dict[str, bytes] = {}

    async def run() -> dict[str, bytes]:
        async with opened(kafka, "dispatch") as (state, _):
            for hour in range(8):
                now = (500_000 + hour) * HOUR
                records = dispatch.apply([report(i, now) for i in range(AREAS)], now)
                records += dispatch.tick(now)
                items = dispatch.changed()
                everything.update({k: v for k, v in items.items() if v is not None})
                await state.commit(records, items)
        async with opened(kafka, "dispatch") as (_, items_found):
            return items_found

    found = asyncio.run(run())
    assert sum(len(item) for item in everything.values()) > 4 * record_limit("state.dispatch")
    assert found == everything
    restored = Dispatch(services, city)
    restored.restore(found)
    later = 500_009 * HOUR
    assert restored.tick(later) == dispatch.tick(later)
    assert not read_topic(kafka, "deadletter"), "nothing was too large"


def test_the_network_of_half_a_million_segments_passes_through_kafka(kafka: KafkaSettings) -> None:
    create_topics(kafka)
    city = big_city(500_000)
    values = np.random.default_rng(1).random(len(city.segments)) * 100
    measures = SegmentMeasures(
        **dict.fromkeys(SegmentMeasures.__dataclass_fields__, values)
        | {"table": SegmentTable(city), "segment": np.arange(len(values))}  # type: ignore[arg-type]
    )
    none = Columns(*[np.zeros(0)] * 4, {})  # type: ignore[arg-type]
    records: list[Record] = network_records(
        0, 0, WINDOW, [WindowResult(0, [], none, 0, measures)], 5
    )
    # About what incidents and forecasts remember of so many segments at every window.
    exact = np.random.default_rng(2).bytes(40 * 1024 * 1024)

    async def run() -> dict[str, bytes]:
        async with opened(kafka, "network") as (state, _):
            await state.commit(records, {"exact/recent": exact})
        async with opened(kafka, "network") as (_, items):
            return items

    assert asyncio.run(run()) == {"exact/recent": exact}
    assembly = NetworkAssembly(RoadNetwork(city), WINDOW, [0])
    (window,) = [
        window
        for record in read_topic(kafka, "network")
        for window in assembly.add(decode(record.value), record.offset)
    ]
    np.testing.assert_array_equal(window.speed_kmh, values)
    assert not read_topic(kafka, "deadletter")
