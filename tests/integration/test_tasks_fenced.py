"""A task stopped with a transaction open, while another takes over: Kafka refuses what it had."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from civicstream.clock import now_ms
from civicstream.errors import OwnershipLost
from civicstream.kafka.topic_admin import create_topics
from civicstream.service_events import Allocation, Case, Report, Unit
from civicstream.services import load_services
from civicstream.settings import KafkaSettings, Settings
from civicstream.topics import topic_name
from streams.dispatch.allocation import DispatchSettings
from streams.dispatch.dispatch import INPUTS, Dispatch
from streams.dispatch.dispatch_task import DispatchPartition, DispatchTask
from streams.network.network_task import NetworkTask
from streams.runtime.task_state import Input, TaskState
from streams.windows.network import MEASURES, RoadNetwork
from streams.windows.network_frames import NetworkFrame, encode
from tests.kit.task_runs import HeldUp, opened
from tests.kit.worker_runs import read_topic, small_city

CITY = small_city()
MINUTE = 60_000


@dataclass
class Message:
    """As Faust brings it."""

    topic: str
    offset: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Failures(list[BaseException]):
    def __call__(self, error: BaseException) -> None:
        self.append(error)


async def until(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.1)
    assert condition(), what


def a_report(number: int) -> Report:
    segment = CITY.segments[0]
    return Report(
        id=f"report-{number}",
        area=segment.area,
        service="pothole",
        lon=segment.line[0][0],
        lat=segment.line[0][1],
        description="here",
        reported_at=now_ms(),
        received_at=now_ms(),
        channel="mqtt",
        reporter=f"citizen-{number}",
        reference="1",
    )


def a_unit() -> Unit:
    segment, now = CITY.segments[0], now_ms()
    return Unit(
        id="crew",
        area=segment.area,
        state="available",
        skills=["road"],
        lon=segment.line[0][0],
        lat=segment.line[0][1],
        shift_end=now + 8 * 60 * MINUTE,
        capacity=10.0,
        load=0.0,
        at=now,
        task=None,
    )


def test_the_dispatch_of_a_worker_that_comes_back_leaves_no_phantom(kafka: KafkaSettings) -> None:
    create_topics(kafka)
    inputs = {topic_name(kafka.topic_prefix, name): Input(0, 0, "id") for name in INPUTS}
    reports, units = (topic_name(kafka.topic_prefix, name) for name in ("reports", "units"))
    services = load_services(None)

    def new_dispatch() -> Dispatch:
        return Dispatch(services, CITY, DispatchSettings(plan_every_s=1))

    def begun(
        task: DispatchTask, state: TaskState, items: dict[str, bytes], failures: Failures
    ) -> DispatchPartition:
        state.begin_inputs(inputs | state.inputs, [])
        return task.on_assigned(state, items, failures)

    async def feed(partition: DispatchPartition) -> None:
        for topic, event in ((units, a_unit()), (reports, a_report(1))):
            message = Message(topic, 0, msgspec.json.encode(event))
            await partition.on_record(message)  # type: ignore[arg-type]

    async def ticking(partition: DispatchPartition) -> None:
        while True:
            partition.on_tick({})
            await asyncio.sleep(0.1)

    async def run() -> dict[str, bytes]:
        failures, successors_failures = Failures(), Failures()
        first, second = (DispatchTask(kafka, new_dispatch, lambda: None) for _ in range(2))
        async with opened(kafka, "dispatch") as (stopped, items):
            held = HeldUp(stopped)
            await feed(begun(first, stopped, items, failures))
            await held.reached.wait()
            async with opened(kafka, "dispatch") as (state, left):
                successor = begun(second, state, left, successors_failures)
                clock = asyncio.create_task(ticking(successor))
                await feed(successor)
                await until(lambda: second.gauges.allocation_versions >= 1, "a crew sent")
                held.go_on()
                await until(lambda: bool(failures), "the first one fenced")
                before = second.gauges.city_events
                message = Message(reports, 1, msgspec.json.encode(a_report(2)))
                await successor.on_record(message)  # type: ignore[arg-type]
                await until(lambda: second.gauges.city_events > before, "the second goes on")
                await asyncio.sleep(1.5)
                clock.cancel()
                successor.on_revoked()
        first.close()
        second.close()
        assert isinstance(failures[0], OwnershipLost)
        assert successors_failures == []
        async with opened(kafka, "dispatch") as (_, items):
            return items

    items = asyncio.run(run())
    for topic, of in (("cases", Case), ("allocations", Allocation)):
        found = [msgspec.json.decode(r.value, type=of) for r in read_topic(kafka, topic)]
        assert found
        assert set(Counter((e.id, e.version) for e in found).values()) == {1}, topic
    restored = new_dispatch()
    restored.restore(items)
    later = now_ms() + 60 * MINUTE
    restored.tick(later)  # proposals expire: each has its task


def network_frames(minute: int, partitions: int) -> list[bytes]:
    """Return what all partitions say as they close the window of ``minute``."""
    frames = []
    for partition in range(partitions):
        names = [s.id for s in CITY.segments] if partition == 0 else []
        columns = {name: np.full(len(names), 20.0) for name in MEASURES}
        frame = NetworkFrame(
            partition=partition,
            closed_until=(minute + 1) * MINUTE,
            published_at=(minute + 1) * MINUTE + 40_000,
            window_start=np.full(len(names), minute * MINUTE, np.int64),
            segment=np.arange(len(names), dtype=np.int32),
            segments=names,
            measures=columns,
        )
        frames.append(encode(frame))
    return frames


def test_the_network_of_a_worker_that_comes_back_publishes_nothing_twice(
    kafka: KafkaSettings,
) -> None:
    create_topics(kafka)
    topic = topic_name(kafka.topic_prefix, "network")
    settings = Settings(kafka=kafka)
    executor = ThreadPoolExecutor(1)

    async def take(state: TaskState, items: dict[str, bytes], minutes: range) -> int:
        """Work off the windows of ``minutes``; return until when windows were assembled."""
        task = NetworkTask(settings, RoadNetwork(CITY), executor)
        state.begin_inputs({topic: Input(0, 0, "id")} | state.inputs, [])
        partition = task.on_assigned(state, items, Failures())
        offset = state.gates[topic].expected
        for minute in minutes:
            for value in network_frames(minute, kafka.partitions):
                await partition.on_record(Message(topic, offset, value))  # type: ignore[arg-type]
                offset += 1
        return partition.assembly.progress.assembled_until

    async def run() -> int:
        async with opened(kafka, "network") as (stopped, items):
            await take(stopped, items, range(10, 12))
            held = HeldUp(stopped)
            late = asyncio.create_task(take(stopped, {}, range(12, 13)))
            await held.reached.wait()
            async with opened(kafka, "network") as (state, left):
                await take(state, left, range(12, 14))
                held.go_on()
                with pytest.raises(OwnershipLost):
                    await late
        async with opened(kafka, "network") as (state, items):
            return await take(state, items, range(0))

    try:
        assert asyncio.run(run()) == 14 * MINUTE, "the state did not go back"
    finally:
        executor.shutdown()
    ids = Counter(dict(r.headers)["ce_id"] for r in read_topic(kafka, "forecasts"))
    areas = {s.area for s in CITY.segments}
    made = {f"forecast/{a}/{(m + 1) * MINUTE}".encode() for a in areas for m in range(10, 14)}
    assert ids == Counter(made)
