"""Containers, car parks and tours survive kill -9: every level counts once, nothing is told twice.

What must have been told follows from the topic ``levels`` by the same forecasters in one life.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest

from civicstream import frames
from civicstream.city import City, Sensors
from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.frames import FrameHeaders
from civicstream.kafka import clients as kafka_clients
from civicstream.kafka.topic_admin import create_topics
from civicstream.partitioning import partition_of
from civicstream.service_events import BinForecast, ParkingForecast, Tour, Unit
from civicstream.settings import KafkaSettings
from civicstream.topics import frames_topic, topic_name
from sensors_sim.city_plan import plan_city
from stack.servers.processes import wait_until
from streams.dispatch.demand import ResourceForecaster
from streams.windows.levels import LEVEL_KINDS, decode_levels
from tests.kit.frame_making import make_frame
from tests.kit.worker_runs import read_topic, start_worker, wait_for_report, worker_environment

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(400)]

MINUTE, HOUR = 60_000, 3_600_000
STEPS = 48
"""Five minutes each."""

E = TypeVar("E", bound=msgspec.Struct)


class Street:
    """Sends the levels of a city's containers and car parks, and what a truck says."""

    def __init__(self, kafka: KafkaSettings, city: City) -> None:
        self._kafka, self._city = kafka, city
        self._producer = kafka_clients.producer(kafka)
        self._seq = 0
        self.begun = now_ms() - STEPS * 5 * MINUTE
        self.sent: dict[tuple[str, str, int], float] = {}
        """Kind, sensor and time -> level."""

    def close(self) -> None:
        self._producer.close()

    def step(self, number: int) -> None:
        """Send what everything measures at a step; Kafka has it on return."""
        sensors, at = self._city.sensors, self.begun + number * 5 * MINUTE
        rows: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for kind, name, first in (
            ("waste", "fillingLevel", 0.5),
            ("parking", "availableSpotNumber", 90.0),
        ):
            code = Sensors.kind_names.index(kind)
            for i in np.flatnonzero(sensors.kind == code).tolist():
                level = first + (number * 0.01 if kind == "waste" else -float(number))
                area = self._city.areas[int(sensors.area[i])].id
                more = {} if kind == "waste" else {"totalSpotNumber": 100.0}
                rows[kind, area].append((area, sensors.ids[i], at, {name: level, **more}))
                self.sent[kind, sensors.ids[i], at] = level
        for (kind, area), found in rows.items():
            headers = FrameHeaders("test", 1, self._seq, len(found), now_ms()).to_kafka()
            self._seq += 1
            self._producer.send(
                topic_name(self._kafka.topic_prefix, frames_topic(kind)),
                frames.encode(make_frame(kind, found)),
                partition=partition_of(area, self._kafka.partitions),
                headers=headers,
            ).get(30)

    def truck(self, state: str, task: str | None = None) -> None:
        lon, lat = self._city.segments[0].line[0]
        at = now_ms()
        unit = Unit(
            id="truck",
            area=self._city.areas[0].id,
            state=state,  # type: ignore[arg-type]
            skills=["bin_collection"],
            lon=lon,
            lat=lat,
            shift_end=at + 8 * HOUR,
            capacity=40.0,
            load=0.0,
            at=at,
            task=task,
        )
        headers = cloud_headers("unit", source="/test", event_id=f"truck/{at}", time_ms=at)
        name = topic_name(self._kafka.topic_prefix, "units")
        value = msgspec.json.encode(unit)
        self._producer.send(name, value, key=unit.area.encode(), headers=headers).get(30)


def told(kafka: KafkaSettings, topic: str, of: type[E]) -> list[E]:
    return [msgspec.json.decode(r.value, type=of) for r in read_topic(kafka, topic)]


def once(events: Iterable[E], key: Callable[[E], object]) -> list[E]:
    """Return the events without repetitions, which must be the same."""
    found: dict[object, E] = {}
    for event in events:
        assert found.setdefault(key(event), event) == event
    return list(found.values())


def wait_until_told(kafka: KafkaSettings, at: int) -> None:
    """Wait for a forecast of a container that follows from readings of then or later."""
    wait_until(
        lambda: any(f.at >= at for f in told(kafka, "bins", BinForecast)),
        "a forecast of a container",
        timeout_s=90,
        every_s=0.5,
    )


def test_levels_forecasts_and_tours_are_as_if_no_worker_had_been_killed(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    city = plan_city(60, 2)
    create_topics(kafka)
    environment = worker_environment(kafka, tmp_path, city)
    street = Street(kafka, city)
    worker = start_worker(environment, tmp_path, "worker-0")
    try:
        wait_for_report(kafka, "worker-0", 0)
        street.truck("available")
        for life in range(1, 4):
            for number in range((life - 1) * STEPS // 3, life * STEPS // 3):
                street.step(number)
            wait_until_told(kafka, street.begun + ((life - 1) * STEPS // 3 + 2) * 5 * MINUTE)
            worker.kill()
            worker = start_worker(environment, tmp_path, f"worker-{life}")

        def tours() -> list[Tour]:
            return told(kafka, "tours", Tour)

        wait_until(lambda: bool(tours()), "a tour", timeout_s=120)
        first = tours()[-1]
        worker.kill()
        worker = start_worker(environment, tmp_path, "worker-4")
        task = f"tour/{first.id}/{first.stops[0].sensor_key}"
        street.truck("en_route", task)
        street.truck("on_site", task)
        wait_until(lambda: "1 of" in tours()[-1].note, "a container to be emptied", timeout_s=60)
        worker.kill()
        worker = start_worker(environment, tmp_path, "worker-5")
        street.truck("available")
        wait_until(
            lambda: any(t.state in {"finished", "withdrawn"} for t in tours() if t.id == first.id),
            "the end of the tour",
            timeout_s=60,
        )
        wait_until(
            lambda: all_levels_are_there(kafka, street, city) and nothing_is_due(kafka, city),
            "the last forecasts",
            timeout_s=90,
            every_s=1.0,
        )
        assert worker.stop() == 0, worker.last_words()
    finally:
        worker.kill()
        street.close()
    check_forecasts(kafka, city)
    versions = once(tours(), lambda t: (t.id, t.version))
    mine = [t.version for t in versions if t.id == first.id]
    assert mine == list(range(1, len(mine) + 1))
    assert [t.state for t in versions if t.id == first.id][:2] == ["planned", "under_way"]


def all_levels_are_there(kafka: KafkaSettings, street: Street, city: City) -> bool:
    """Whether every reading is on the topic; one that comes more than once must be the same."""
    measure = {"waste": "fillingLevel", "parking": "availableSpotNumber"}
    found: dict[tuple[str, str, int], float] = {}
    for record in read_topic(kafka, "levels"):
        levels = decode_levels(record.value)
        values = levels.readings.measures[measure[levels.kind]]
        names = [
            city.sensors.ids[i] for i in city.find_sensors(levels.readings.sensor_key).tolist()
        ]
        for name, ts, value in zip(names, levels.readings.ts.tolist(), values, strict=True):
            assert found.setdefault((levels.kind, name, ts), value) == value
    return found == street.sent


def expected_forecasts(kafka: KafkaSettings, city: City) -> list[BinForecast | ParkingForecast]:
    """Return what one life would have told of the levels on the topic, in their order."""
    desk = ResourceForecaster(city, lambda _: 0)
    levels = [decode_levels(record.value) for record in read_topic(kafka, "levels")]
    assert {found.kind for found in levels} <= set(LEVEL_KINDS)
    return [forecast for found in levels for forecast in desk.apply(found, 0)]


def nothing_is_due(kafka: KafkaSettings, city: City) -> bool:
    """Whether as many forecasts were told as follow from the levels."""
    expected = expected_forecasts(kafka, city)
    bins = once(told(kafka, "bins", BinForecast), lambda f: (f.sensor_key, f.at))
    parks = {f.at for f in told(kafka, "parking", ParkingForecast)}
    wanted = {f.at for f in expected if isinstance(f, ParkingForecast)}
    return len(bins) == sum(isinstance(f, BinForecast) for f in expected) and max(
        parks, default=0
    ) == max(wanted, default=0)


def check_forecasts(kafka: KafkaSettings, city: City) -> None:
    """What was told is what one life would have told, in its order."""
    expected = expected_forecasts(kafka, city)
    bins = once(told(kafka, "bins", BinForecast), lambda f: (f.sensor_key, f.at))
    parks = once(told(kafka, "parking", ParkingForecast), lambda f: (f.sensor_key, f.at))
    assert bins == [f for f in expected if isinstance(f, BinForecast)]
    assert len(bins) >= 4
    # What car parks taught is written once an hour, so after a crash a forecast may be another.
    # But it is told once, and of the same spaces.
    free = {(f.sensor_key, f.at): f.free for f in expected if isinstance(f, ParkingForecast)}
    both = [f for f in parks if (f.sensor_key, f.at) in free]
    assert [f.free for f in both] == [free[f.sensor_key, f.at] for f in both]
    assert len(both) >= 6
    assert [f.at for f in parks] == sorted(f.at for f in parks)
