"""The worker process: Faust feeds partitions, timers drive what no frame triggers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import faust
import msgspec

from civicstream import frames
from civicstream.city import City
from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.errors import CorruptFrame
from civicstream.events import Counts, LedgerReport
from civicstream.frames import FrameHeaders
from civicstream.geojson import read_city
from civicstream.kafka_clients import create_topics, wait_for_kafka
from civicstream.kinds import KINDS
from civicstream.local_time import local_offset
from civicstream.services import load_services
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from civicstream.topics import frames_topic, topic_name
from streams.allocation import DispatchSettings
from streams.anomaly import AnomalyDetector
from streams.app import (
    make_app,
    make_city_table,
    make_city_topic,
    make_frames_topic,
    make_sensor_table,
)
from streams.dispatch import INPUTS, Dispatch
from streams.dispatch_stream import DispatchAgent
from streams.health import SensorPlaces, SensorWatch
from streams.levels import LEVEL_KINDS
from streams.network import RoadNetwork
from streams.network_judgement import RoadOutlook
from streams.network_stream import NetworkAgent
from streams.partitions import Gauges, PartitionStream, recorded_progress
from streams.publication import Publication
from streams.results import Calculation
from streams.sensor_state import SensorState
from streams.sequence import FrameSequence, StallWatch, Turn
from streams.traffic import SegmentTable
from streams.windows import PartitionWindows, WindowConfig

__all__ = ["Worker", "run"]

log = logging.getLogger(__name__)

# Closings of one partition that may wait before reading pauses: bounds memory when the
# calculation or Kafka is slower than the frames.
_MAX_CLOSINGS = 4

_TICK_S = 0.1

# Provisional results may take at most this share of the time; under heavy load they come less
# often instead of slowing the final ones.
_PROVISIONAL_SHARE = 0.2

# Without Kafka, Faust's stop waits for ever for its last commit.
_STOP_S = 15.0

# Kafka answers if it confirmed one of our reports, sent every second, within this time.
_LINK_ALIVE_S = 3.0

# A tick that comes so late means that this process did not run, or not enough.
_HELD_UP_S = 0.5


class Worker:
    """Everything of one worker process; ``app`` is the Faust app to start."""

    def __init__(self, settings: Settings, city: City) -> None:
        self.settings = settings
        self.epoch = now_ms()
        self.gauges = Gauges()
        self.app = make_app(settings)
        self._places = {name: SensorPlaces(city, kind) for name, kind in KINDS.items()}
        self._segments = SegmentTable(city)
        self._config = WindowConfig.from_settings(settings.windows)
        self._table = make_sensor_table(self.app, settings.kafka)
        self._publication = Publication(self.app, settings.kafka)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="results")
        self._streams: dict[tuple[str, int], PartitionStream] = {}
        self._kind_of = {
            topic_name(settings.kafka.topic_prefix, frames_topic(name)): kind
            for name, kind in KINDS.items()
        }
        self._kafka_confirmed_at = 0.0
        topic = make_frames_topic(self.app, settings.kafka)
        self.app.agent(topic, name="frames")(self._read)
        self._city_table = make_city_table(self.app)
        self._network = self._watch_network(RoadNetwork(city))
        self._dispatch = self._serve_city(city)
        self.app.on_rebalance_complete.connect(self._assigned)
        self.app.on_partitions_revoked.connect(self._revoked)
        for task in (self._tick, self._provisional, self._report, self._seek_left_out):
            self.app.task(task)

    def _watch_network(self, network: RoadNetwork) -> NetworkAgent | None:
        wanted = self.settings.intelligence
        if not len(network) or (wanted.incidents == "none" and not wanted.forecasts):
            return None
        agent = NetworkAgent(
            self.settings, network, self._publication, self._city_table, self._executor
        )
        topic = make_city_topic(self.app, self.settings.kafka, "network")
        self.app.agent(topic, name="network")(partial(agent.read, self.app))
        return agent

    def _serve_city(self, city: City) -> DispatchAgent | None:
        wanted = self.settings.allocation
        if not wanted.enabled:
            return None
        services = load_services(self.settings.reports.services_file)
        plan = DispatchSettings(policy=wanted.policy, plan_every_s=wanted.plan_every_s)
        agent = DispatchAgent(
            self.settings.kafka,
            lambda: Dispatch(services, city, plan, local_offset(self.settings.city.timezone)),
            self._publication,
            self._city_table,
            self._outlook,
            self._fail,
        )
        topic = make_city_topic(self.app, self.settings.kafka, *INPUTS)
        self.app.agent(topic, name="dispatch")(partial(agent.read, self.app))
        return agent

    def _outlook(self) -> RoadOutlook | None:
        return self._network.outlook() if self._network else None

    async def _assigned(self, _app: faust.App, **_: object) -> None:
        if self._dispatch:
            await self._dispatch.assigned(self.app.consumer.assignment())

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
                await self.app.consumer.seek(event.message.tp, state.sequence.expected)
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
        calculation.tells_levels = self._dispatch is not None and kind.name in LEVEL_KINDS
        sensors = None
        if self.settings.intelligence.sensor_health:
            calculation.watch = SensorWatch(
                kind,
                self._segments.city,
                places=self._places[kind.name],
                detector=AnomalyDetector(),
            )
            sensors = SensorState(calculation.watch, self._table, topic, partition, self._executor)
            sensors.restore(progress.closed_until)
        return PartitionStream(
            kind=kind,
            topic=topic,
            partition=partition,
            windows=windows,
            calculation=calculation,
            sensors=sensors,
            feeds_network=self._network is not None and kind.name == "traffic",
            table=self._table,
            publication=self._publication,
            executor=self._executor,
            gauges=self.gauges,
            sequence=FrameSequence(progress.resume_at),
            on_failure=self._fail,
        )

    def _fail(self, error: BaseException) -> None:
        log.error("stopping, what was due could not be published", exc_info=error)
        self._crashing = asyncio.ensure_future(self.app.crash(error))

    async def _revoked(self, _app: faust.App, revoked: set[faust.types.TP], **_: object) -> None:
        for tp in revoked:
            state = self._streams.pop((tp.topic, tp.partition), None)
            if state is not None:
                state.revoke()
        if self._network and any(tp.topic == self._network.topic for tp in revoked):
            self._network.revoke()
        if self._dispatch and any(tp.topic in self._dispatch.topics for tp in revoked):
            self._dispatch.revoke()

    async def _tick(self) -> None:
        """Let the watermark of silent partitions go on with the clock; close what is due.

        Silence counts only while it is observed: not while Kafka does not answer, nor when this
        process itself was held up, for then frames may be waiting unread.
        """
        before = time.monotonic()
        while not self.app.should_stop:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            elapsed_s, before = now - before, now
            observed = elapsed_s < _HELD_UP_S and now - self._kafka_confirmed_at < _LINK_ALIVE_S
            assigned = self.app.consumer.assignment()
            for state in list(self._streams.values()):
                if observed and self._lag(state, assigned) == 0:
                    state.windows.silent_for(round(elapsed_s * 1000))
                else:
                    state.windows.not_silent()
                state.advance()

    async def _seek_left_out(self) -> None:
        """Go back for records that Faust has left out and that nothing else would show."""
        watches: dict[faust.types.TP, StallWatch] = {}
        while not self.app.should_stop:
            await asyncio.sleep(1.0)
            assigned = self.app.consumer.assignment()
            for tp, sequence in self._sequences():
                if tp in assigned:
                    watch = watches.setdefault(tp, StallWatch())
                    highwater = self.app.consumer.highwater(tp)
                    if watch.stalled(sequence.expected, highwater, time.monotonic()):
                        self.gauges.seeks += 1
                        await self.app.consumer.seek(tp, sequence.expected)

    def _sequences(self) -> list[tuple[faust.types.TP, FrameSequence]]:
        found = [
            (faust.types.TP(topic, partition), state.sequence)
            for (topic, partition), state in self._streams.items()
        ]
        for agent in (self._network, self._dispatch):
            found += agent.sequences() if agent else []
        return found

    def _lag(self, state: PartitionStream, assigned: set[faust.types.TP]) -> int | None:
        """Return the records of a partition not yet read, None where Kafka has not said."""
        tp = faust.types.TP(state.topic, state.partition)
        if tp not in assigned:
            return None
        highwater = self.app.consumer.highwater(tp)
        return None if highwater is None else max(0, highwater - state.sequence.expected)

    async def _provisional(self) -> None:
        every_s = self.settings.windows.provisional_every_s
        pause_s = every_s
        while not self.app.should_stop:
            await asyncio.sleep(pause_s)
            started = time.monotonic()
            for state in list(self._streams.values()):
                try:
                    await state.publish_provisional()
                except Exception as error:
                    log.warning("a provisional result was not published: %r", error)
            took_s = time.monotonic() - started
            pause_s = max(every_s - took_s, took_s * (1 / _PROVISIONAL_SHARE - 1))

    async def _report(self) -> None:
        while not self.app.should_stop:
            if self.app.consumer.assignment():
                try:
                    await self.publish_report()
                    self._kafka_confirmed_at = time.monotonic()
                except Exception as error:
                    log.warning("the ledger report was not published: %r", error)
            await asyncio.sleep(1.0)

    async def publish_report(self) -> None:
        """Publish this process's counts on the ledger topic."""
        report = self.report()
        headers = cloud_headers(
            "ledger",
            source="/civicstream/streams",
            event_id=f"{report.key}/{report.at}",
            time_ms=report.at,
        )
        value = msgspec.json.encode(report)
        await self._publication.send("ledger", report.key.encode(), value, 0, headers)

    def report(self) -> LedgerReport:
        """Return the counts of the partitions that are assigned to this worker now."""
        kinds: dict[str, Counts] = {}
        lag = open_windows = unhealthy = 0
        assigned = self.app.consumer.assignment()
        for state in self._streams.values():
            total = kinds.setdefault(state.kind.name, Counts())
            for name, value in msgspec.structs.asdict(state.windows.counts()).items():
                setattr(total, name, getattr(total, name) + value)
            lag += self._lag(state, assigned) or 0
            open_windows += len(state.windows.open_windows)
            unhealthy += state.sensors.watch.unhealthy if state.sensors else 0
        figures = dict(vars(self.gauges))
        for agent in (self._network, self._dispatch):
            figures |= vars(agent.gauges) if agent else {}
        gauges = {name: float(value) for name, value in figures.items()}
        gauges |= {"lag_records": float(lag), "open_windows": float(open_windows)}
        gauges["unhealthy_sensors"] = float(unhealthy)
        return LedgerReport("worker", self.settings.worker.id, self.epoch, now_ms(), kinds, gauges)

    async def main(self, stop: threading.Event) -> None:
        """Run until ``stop`` is set; raise what made the app crash."""
        self.app.finalize()
        await self.app.start()
        try:
            while not stop.is_set() and not self.app.should_stop:
                await asyncio.sleep(_TICK_S)
        finally:
            crashed = self.app.crash_reason
            await self._stop_app()
            self._executor.shutdown()
            if self._dispatch:
                self._dispatch.close()
        if crashed is not None:
            raise crashed

    async def _stop_app(self) -> None:
        try:
            await asyncio.wait_for(self.app.stop(), _STOP_S)
        except TimeoutError:
            log.warning("Faust did not stop within %g s; what it held is read again", _STOP_S)


def _place(message: faust.types.Message) -> str:
    return f"{message.topic}/{message.partition} offset {message.offset}"


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Run the worker until ``stop`` is set (default: by SIGINT or SIGTERM)."""
    stop = stop or stop_on_signals()
    city = read_city(settings.city.file) if settings.city.file else City()
    wait_for_kafka(settings.kafka)
    create_topics(settings.kafka)
    settings.worker.data_dir.mkdir(parents=True, exist_ok=True)
    asyncio.run(Worker(settings, city).main(stop))
