"""The task ``frames``: readings of every kind into windows, partition by partition.

Partition p of the task reads partition p of every kind's topic: Faust assigns them together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor

import faust
from faust.types import TP

from civicstream import frames
from civicstream.city import City
from civicstream.errors import CivicStreamError, CorruptFrame
from civicstream.frames import FrameHeaders
from civicstream.kinds import KINDS, Kind
from civicstream.local_time import local_offset
from civicstream.settings import Settings
from civicstream.topics import frames_topic, topic_name
from streams.anomaly import AnomalyDetector
from streams.city_agents import CityAgents
from streams.frames.partitions import Gauges, PartitionStream, recorded_progress
from streams.frames.results import Calculation
from streams.frames.sensor_state import SensorState
from streams.health import SensorPlaces, SensorWatch
from streams.runtime.committed_consumer import PlacedMessage
from streams.runtime.records import Record
from streams.runtime.sequence import RecordSequence
from streams.runtime.task_state import TaskState
from streams.runtime.tasks import Failed
from streams.windows.levels import LEVEL_KINDS
from streams.windows.traffic import SegmentTable
from streams.windows.windows import PartitionWindows, WindowConfig

__all__ = ["FrameStreams"]

log = logging.getLogger(__name__)

_FULL_PAUSE_S = 0.005


class FrameStreams:
    """Reads the frames' topics while this worker has them."""

    name = "frames"

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        city: City,
        agents: CityAgents,
        executor: Executor,
    ) -> None:
        """``agents`` are told what concerns the whole city."""
        self.gauges = Gauges()
        self._app, self._settings, self._agents = app, settings, agents
        self._executor = executor
        self._places = {name: SensorPlaces(city, kind) for name, kind in KINDS.items()}
        self._segments = SegmentTable(city)
        self._offset_ms = local_offset(settings.city.timezone)
        self._config = WindowConfig.from_settings(settings.windows)
        self._streams: dict[TP, PartitionStream] = {}
        self._kind_of = {
            topic_name(settings.kafka.topic_prefix, frames_topic(name)): kind
            for name, kind in KINDS.items()
        }

    def all(self) -> list[PartitionStream]:
        """Return the partitions that have begun."""
        return list(self._streams.values())

    def sequence(self, tp: TP) -> RecordSequence | None:
        stream = self._streams.get(tp)
        return None if stream is None else stream.sequence

    async def take(self, message: PlacedMessage) -> None:
        state = self._streams[message.tp]
        self._add(state, message)
        while state.assigned and state.is_full:
            await asyncio.sleep(_FULL_PAUSE_S)

    def _add(self, state: PartitionStream, message: PlacedMessage) -> None:
        headers = None
        try:
            headers = FrameHeaders.from_kafka(message.headers or ())
            frame = frames.decode(message.value, state.kind.name)
        except CorruptFrame as error:
            if headers is not None:
                state.count(message.offset, headers, corrupt=True)
            # The sink keeps the bytes as a dead letter; here it must only not stop the rest.
            self.gauges.corrupt_frames += 1
            place = f"{message.topic}/{message.partition} offset {message.offset}"
            log.warning("skipping %s: %s", place, error)
        else:
            self.gauges.frames += 1
            state.add(message.offset, frame, headers)

    def inputs(self, partition: int) -> list[TP]:
        return [TP(topic, partition) for topic in self._kind_of]

    def partitions(self, assigned: Iterable[TP]) -> set[int]:
        return {tp.partition for tp in assigned if tp.topic in self._kind_of}

    def begin(self, state: TaskState, items: Mapping[str, bytes], failed: Failed) -> None:
        for tp in self.inputs(state.partition):
            self._streams[tp] = self._begin(tp.topic, state, items, failed)

    def _begin(
        self, topic: str, state: TaskState, items: Mapping[str, bytes], failed: Failed
    ) -> PartitionStream:
        kind, partition = self._kind_of[topic], state.partition
        progress = recorded_progress(state, items, kind.name, topic)
        windows = PartitionWindows(self._config, progress)
        calculation = Calculation(kind, windows.areas, self._segments)
        calculation.tells_levels = self._agents.desk is not None and kind.name in LEVEL_KINDS
        sensors = None
        if self._settings.intelligence.sensor_health:
            calculation.watch = self._watch(kind)
            sensors = SensorState(calculation.watch, kind.name, self._executor)
            sensors.restore(items)
        return PartitionStream(
            kind=kind,
            topic=topic,
            partition=partition,
            windows=windows,
            calculation=calculation,
            sensors=sensors,
            feeds_network=self._agents.network is not None and kind.name == "traffic",
            state=state,
            executor=self._executor,
            gauges=self.gauges,
            sequence=RecordSequence(progress.resume_at, state.inputs[topic].newest_ms),
            on_failure=failed,
        )

    def _watch(self, kind: Kind) -> SensorWatch:
        return SensorWatch(
            kind,
            self._segments.city,
            places=self._places[kind.name],
            detector=AnomalyDetector(),
            offset_ms=self._offset_ms,
        )

    def drop(self, partition: int) -> None:
        for tp in self.inputs(partition):
            stream = self._streams.pop(tp, None)
            if stream is not None:
                stream.revoke()

    async def publish_provisional(self) -> None:
        """Publish what is known of the open windows that changed, partition by partition."""
        for partition in sorted({tp.partition for tp in self._streams}):
            found: list[tuple[PartitionStream, int, list[Record]]] = []
            for tp in self.inputs(partition):
                stream = self._streams.get(tp)
                if stream is not None:
                    found += [(stream, end, records) for end, records in await stream.provisional()]
            # Judged as the commit takes its turn: after a final result comes none of these.
            records = [
                record
                for stream, end, some in found
                if stream.assigned and end > stream.windows.closed_until
                for record in some
            ]
            if not records:
                self.gauges.computations += bool(found)  # readings of which nothing is shown
                continue
            try:
                await found[0][0].state.commit(records)
            except CivicStreamError as error:
                if found[0][0].assigned:
                    found[0][0].on_failure(error)
            else:
                self.gauges.computations += 1
                self.gauges.provisional_published += len(records)

    def lag(self, stream: PartitionStream) -> int | None:
        """Return the records of a partition not yet read, None where Kafka has not said."""
        tp = TP(stream.topic, stream.partition)
        found: int | None = self._app.consumer.lag(tp, stream.sequence.expected)
        return found
