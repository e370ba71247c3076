"""The partitions of frames that a worker has: begun when their first frame comes, until revoked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

import faust

from civicstream import frames
from civicstream.city import City
from civicstream.errors import CorruptFrame
from civicstream.frames import FrameHeaders
from civicstream.kinds import KINDS, Kind
from civicstream.local_time import local_offset
from civicstream.settings import Settings
from civicstream.topics import frames_topic, topic_name
from streams.anomaly import AnomalyDetector
from streams.app import make_frames_topic, make_sensor_table
from streams.city_agents import CityAgents
from streams.health import SensorPlaces, SensorWatch
from streams.levels import LEVEL_KINDS
from streams.partitions import Gauges, PartitionStream, recorded_progress
from streams.publication import Publication
from streams.results import Calculation
from streams.sensor_state import SensorState
from streams.sequence import FrameSequence, Turn
from streams.traffic import SegmentTable
from streams.windows import PartitionWindows, WindowConfig

__all__ = ["FrameStreams"]

log = logging.getLogger(__name__)

# Closings of one partition that may wait before reading pauses: bounds memory when the
# calculation or Kafka is slower than the frames.
_MAX_CLOSINGS = 4


class FrameStreams:
    """Reads the frames' topics while this worker has them."""

    def __init__(
        self,
        app: faust.App,
        settings: Settings,
        city: City,
        agents: CityAgents,
        publication: Publication,
        executor: Executor,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """``agents`` are told what concerns the whole city."""
        self.gauges = Gauges()
        self._app, self._settings, self._agents = app, settings, agents
        self._publication, self._executor = publication, executor
        self._on_failure = on_failure
        self._places = {name: SensorPlaces(city, kind) for name, kind in KINDS.items()}
        self._segments = SegmentTable(city)
        self._offset_ms = local_offset(settings.city.timezone)
        self._config = WindowConfig.from_settings(settings.windows)
        self._table = make_sensor_table(app, settings.kafka)
        self._streams: dict[tuple[str, int], PartitionStream] = {}
        self._kind_of = {
            topic_name(settings.kafka.topic_prefix, frames_topic(name)): kind
            for name, kind in KINDS.items()
        }
        app.agent(make_frames_topic(app, settings.kafka), name="frames")(self._read)

    def all(self) -> list[PartitionStream]:
        """Return the partitions that have begun."""
        return list(self._streams.values())

    async def _read(self, stream: faust.StreamT) -> None:
        async for event in stream.noack().events():
            state = self._stream(event.message)
            turn = state.sequence.turn(event.message.offset, time.monotonic())
            if turn in {Turn.NEXT, Turn.AFTER_GAP}:
                if turn is Turn.AFTER_GAP:
                    log.error("%s: frames before it are gone from Kafka", _place(event.message))
                self._take(state, event)
                while state.assigned and state.waiting_closings > _MAX_CLOSINGS:
                    await asyncio.sleep(0.005)
            elif turn is Turn.ACCOUNTED:
                state.skip(event)
            elif turn is Turn.SEEK:
                self.gauges.seeks += 1
                await self._app.consumer.seek(event.message.tp, state.sequence.expected)
            elif turn is Turn.REPEATED:
                self.gauges.repeated_frames += 1

    def _take(self, state: PartitionStream, event: faust.EventT) -> None:
        try:
            headers = FrameHeaders.from_kafka(event.message.headers or ())
            frame = frames.decode(event.value, state.kind.name)
        except CorruptFrame as error:
            # The sink keeps the bytes as a dead letter; here it must only not stop the rest.
            self.gauges.corrupt_frames += 1
            log.warning("skipping %s: %s", _place(event.message), error)
            state.skip(event)
        else:
            self.gauges.frames += 1
            state.add(event, frame, headers)

    def _stream(self, message: faust.types.Message) -> PartitionStream:
        place = (message.topic, message.partition)
        state = self._streams.get(place)
        if state is None:
            state = self._streams[place] = self._begin(*place)
        return state

    def _begin(self, topic: str, partition: int) -> PartitionStream:
        kind = self._kind_of[topic]
        progress = recorded_progress(self._table, topic, partition)
        windows = PartitionWindows(self._config, progress)
        calculation = Calculation(kind, windows.areas, self._segments)
        calculation.tells_levels = self._agents.desk is not None and kind.name in LEVEL_KINDS
        sensors = None
        if self._settings.intelligence.sensor_health:
            calculation.watch = self._watch(kind)
            sensors = SensorState(calculation.watch, self._table, topic, partition, self._executor)
            sensors.restore(progress.closed_until)
        return PartitionStream(
            kind=kind,
            topic=topic,
            partition=partition,
            windows=windows,
            calculation=calculation,
            sensors=sensors,
            feeds_network=self._agents.network is not None and kind.name == "traffic",
            table=self._table,
            publication=self._publication,
            executor=self._executor,
            gauges=self.gauges,
            sequence=FrameSequence(progress.resume_at),
            on_failure=self._on_failure,
        )

    def _watch(self, kind: Kind) -> SensorWatch:
        return SensorWatch(
            kind,
            self._segments.city,
            places=self._places[kind.name],
            detector=AnomalyDetector(),
            offset_ms=self._offset_ms,
        )

    def begin_unheard(self, assigned: set[faust.types.TP]) -> None:
        """Begin partitions with unread frames of which Faust has delivered none.

        Around a rebalance it may leave them out, and while the sensors are silent nothing new would
        show it. The tables must have been recovered.
        """
        for tp in assigned:
            if tp.topic not in self._kind_of or (tp.topic, tp.partition) in self._streams:
                continue
            highwater = self._app.consumer.highwater(tp)
            progress = recorded_progress(self._table, tp.topic, tp.partition)
            if highwater is not None and highwater > progress.resume_at:
                self._streams[tp.topic, tp.partition] = self._begin(tp.topic, tp.partition)

    def revoked(self, partitions: set[faust.types.TP]) -> None:
        """Forget what is another worker's now."""
        for tp in partitions:
            state = self._streams.pop((tp.topic, tp.partition), None)
            if state is not None:
                state.revoke()

    def sequences(self) -> list[tuple[faust.types.TP, FrameSequence]]:
        """Return what must come next on each partition that this worker has."""
        return [
            (faust.types.TP(topic, partition), state.sequence)
            for (topic, partition), state in self._streams.items()
        ]

    def lag(self, state: PartitionStream, assigned: set[faust.types.TP]) -> int | None:
        """Return the records of a partition not yet read, None where Kafka has not said."""
        tp = faust.types.TP(state.topic, state.partition)
        if tp not in assigned:
            return None
        highwater = self._app.consumer.highwater(tp)
        return None if highwater is None else max(0, highwater - state.sequence.expected)


def _place(message: faust.types.Message) -> str:
    return f"{message.topic}/{message.partition} offset {message.offset}"
