"""The task ``frames``: readings of every kind into windows, partition by partition."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Executor

from civicstream import frames
from civicstream.city import City
from civicstream.errors import CivicStreamError, CorruptFrame
from civicstream.frames import FrameHeaders
from civicstream.kinds import KINDS, Kind
from civicstream.local_time import local_offset
from civicstream.settings import Settings
from civicstream.topics import frames_topic, topic_name
from streams.anomaly import AnomalyDetector
from streams.frames.frame_stream import FrameGauges, FrameStream, recorded_progress
from streams.frames.results import Calculation
from streams.frames.sensor_state import SensorState
from streams.health import SensorPlaces, SensorWatch
from streams.runtime.committed_consumer import PlacedMessage
from streams.runtime.records import Record
from streams.runtime.task import Failed
from streams.runtime.task_state import TaskState
from streams.windows.levels import LEVEL_KINDS
from streams.windows.traffic import SegmentTable
from streams.windows.windows import PartitionWindows, WindowConfig

__all__ = ["FramesPartition", "FramesTask"]

log = logging.getLogger(__name__)


class FramesTask:
    """Partition p reads partition p of every kind's topic; Faust assigns them together."""

    name = "frames"

    def __init__(
        self,
        settings: Settings,
        city: City,
        executor: Executor,
        *,
        network: bool,
        levels: bool,
    ) -> None:
        """``network``, ``levels``: whether a task reads these topics of the whole city."""
        self.gauges = FrameGauges()
        self.partitions: dict[int, FramesPartition] = {}
        self._settings, self._executor = settings, executor
        self._network, self._levels = network, levels
        self._places = {name: SensorPlaces(city, kind) for name, kind in KINDS.items()}
        self._segments = SegmentTable(city)
        self._offset_ms = local_offset(settings.city.timezone)
        self._config = WindowConfig.from_settings(settings.windows)
        self._kind_of = {
            topic_name(settings.kafka.topic_prefix, frames_topic(name)): kind
            for name, kind in KINDS.items()
        }
        self.topics = list(self._kind_of)

    def streams(self) -> list[FrameStream]:
        """Return the streams of the partitions that are at work here."""
        return [s for partition in self.partitions.values() for s in partition.streams.values()]

    def on_assigned(
        self, state: TaskState, items: Mapping[str, bytes], failed: Failed
    ) -> FramesPartition:
        streams = {topic: self._stream(topic, state, items, failed) for topic in self.topics}
        return FramesPartition(streams, state, self.gauges, failed)

    def _stream(
        self, topic: str, state: TaskState, items: Mapping[str, bytes], failed: Failed
    ) -> FrameStream:
        kind = self._kind_of[topic]
        progress = recorded_progress(state, items, kind.name, topic)
        windows = PartitionWindows(self._config, progress)
        calculation = Calculation(kind, windows.areas, self._segments)
        calculation.publishes_levels = self._levels and kind.name in LEVEL_KINDS
        sensors = None
        if self._settings.intelligence.sensor_health:
            calculation.watch = self._watch(kind)
            sensors = SensorState(calculation.watch, kind.name, self._executor)
            sensors.restore(items)
        return FrameStream(
            kind=kind,
            topic=topic,
            windows=windows,
            calculation=calculation,
            sensors=sensors,
            feeds_network=self._network and kind.name == "traffic",
            state=state,
            executor=self._executor,
            gauges=self.gauges,
            failed=failed,
        )

    def _watch(self, kind: Kind) -> SensorWatch:
        return SensorWatch(
            kind,
            self._segments.city,
            places=self._places[kind.name],
            detector=AnomalyDetector(),
            offset_ms=self._offset_ms,
        )


class FramesPartition:
    """One partition of every kind's frames while it is assigned to this worker."""

    def __init__(
        self,
        streams: Mapping[str, FrameStream],
        state: TaskState,
        gauges: FrameGauges,
        failed: Failed,
    ) -> None:
        """``streams`` by topic."""
        self.streams = streams
        self._state = state
        self._gauges = gauges
        self._failed = failed

    @property
    def is_full(self) -> bool:
        return any(stream.is_full for stream in self.streams.values())

    async def on_record(self, message: PlacedMessage) -> None:
        stream = self.streams[message.topic]
        headers = None
        try:
            headers = FrameHeaders.from_kafka(message.headers or ())
            frame = frames.decode(message.value, stream.kind.name)
        except CorruptFrame as error:
            if headers is not None:
                stream.count(message.offset, headers, corrupt=True)
            # The sink keeps the bytes as a dead letter; here it must only not stop the rest.
            self._gauges.corrupt_frames += 1
            place = f"{message.topic}/{message.partition} offset {message.offset}"
            log.warning("skipping %s: %s", place, error)
        else:
            self._gauges.frames += 1
            stream.add(message.offset, frame, headers)

    def on_tick(self, silent_ms: Mapping[str, int]) -> None:
        for topic, stream in self.streams.items():
            if topic in silent_ms:
                stream.windows.silent_for(silent_ms[topic])
            else:
                stream.windows.not_silent()
            stream.advance()

    def on_revoked(self) -> None:
        for stream in self.streams.values():
            stream.revoke()

    async def publish_provisional(self) -> None:
        """Publish what is known of the open windows that changed."""
        found: list[tuple[FrameStream, int, list[Record]]] = []
        for stream in self.streams.values():
            found += [(stream, end, records) for end, records in await stream.provisional()]
        if not self._state.assigned:
            return
        # Judged as the commit takes its turn: after a final result comes none of these.
        records = [
            record
            for stream, end, some in found
            if end > stream.windows.closed_until
            for record in some
        ]
        if not records:
            self._gauges.computations += bool(found)  # readings of which nothing is shown
            return
        try:
            await self._state.commit(records)
        except CivicStreamError as error:
            self._failed(error)
        else:
            self._gauges.computations += 1
            self._gauges.provisional_published += len(records)
