"""The worker process: Faust feeds partitions, timers drive what no frame triggers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import faust
import msgspec
from faust.types import TP

from civicstream.city import City
from civicstream.clock import city_clock, wall_ms
from civicstream.errors import OwnershipLost
from civicstream.events import Counts, LedgerReport
from civicstream.geojson import read_city
from civicstream.kafka.clients import wait_for_kafka
from civicstream.kafka.ledger_report import report_record
from civicstream.kafka.rights import topics_of
from civicstream.kafka.topic_admin import wait_for_topics
from civicstream.retry import wait_until_available
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from streams.city_agents import CityAgents
from streams.frames.frame_streams import FrameStreams
from streams.runtime.app import make_app
from streams.runtime.publication import Publication
from streams.runtime.sequence import StallWatch
from streams.runtime.tasks import Task, Tasks

__all__ = ["Worker", "run"]

log = logging.getLogger(__name__)

_TICK_S = 0.1

# Provisional results may take at most this share of the time; under heavy load they come less
# often instead of slowing the final ones.
_PROVISIONAL_SHARE = 0.2

# Without Kafka, Faust's stop waits for ever for its last commit.
_STOP_S = 15.0

_TELL_GROUP_S = 5.0

# How long a log that was cut and has grown again is taken for the one that was read.
_LOOK_AT_LOGS_S = 1.0

# Kafka answers if it confirmed one of our reports, sent every second, within this time.
_LINK_ALIVE_S = 3.0

# A tick that comes so late means that this process did not run, or not enough.
_HELD_UP_S = 0.5


class Worker:
    """Everything of one worker process; ``app`` is the Faust app to start."""

    def __init__(self, settings: Settings, city: City) -> None:
        self.settings = settings
        self.epoch = wall_ms()
        self.app = make_app(settings, self._positions)
        self._publication = Publication(settings.kafka)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="results")
        shared = (self._executor, self._ended)
        self._agents = CityAgents(self.app, settings, city, *shared)
        self._frames = FrameStreams(self.app, settings, city, self._agents, *shared)
        tasks: list[Task] = [self._frames, *self._agents.tasks]
        self.tasks = Tasks(self.app, settings.kafka, tasks, self._fail)
        self._kafka_confirmed_at = 0.0
        self.app.on_rebalance_complete.connect(self._assigned)
        self.app.on_partitions_revoked.connect(self._revoked)
        loops = (
            self._tick,
            self._provisional,
            self._report,
            self._seek_left_out,
            self._look_at_logs,
            self._tell_group,
        )
        for loop in loops:
            self.app.task(loop)

    def _positions(self) -> dict[TP, int]:
        return self.tasks.positions()

    async def _assigned(self, app: faust.App, **_: object) -> None:
        await self.tasks.assigned(app.consumer.assignment())

    async def _revoked(self, app: faust.App, revoked: set[TP], **_: object) -> None:
        self.tasks.revoked()
        app.consumer.forget(revoked)

    def _ended(self, task: str, partition: int, error: BaseException) -> None:
        """Begin a partition again that somebody else has had; stop for every other reason."""
        if isinstance(error, OwnershipLost):
            self.tasks.lost(task, partition, error)
        else:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        log.error("stopping, what was due could not be published", exc_info=error)
        self._crashing = asyncio.ensure_future(self.app.crash(error))

    async def _tick(self) -> None:
        """Let the watermark of silent partitions go on with the clock; close what is due.

        Silence counts only while it is observed: not while Kafka does not answer, nor when this
        process itself was held up, for then frames may be waiting unread.
        """
        before, clock = time.monotonic(), city_clock()
        while not self.app.should_stop:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            elapsed_s, before = now - before, now
            speed = clock.speed_at(wall_ms())
            observed = elapsed_s < _HELD_UP_S and now - self._kafka_confirmed_at < _LINK_ALIVE_S
            for state in self._frames.all():
                if observed and self._frames.lag(state) == 0:
                    state.windows.silent_for(round(elapsed_s * 1000 * speed))
                else:
                    state.windows.not_silent()
                state.advance()

    async def _seek_left_out(self) -> None:
        """Go back for records that Faust has left out and that nothing else would show."""
        watches: dict[TP, StallWatch] = {}
        while not self.app.should_stop:
            await asyncio.sleep(1.0)
            consumer = self.app.consumer
            for tp in consumer.changed_logs():
                self.tasks.begin_again(tp)
            for tp, expected in self.tasks.positions().items():
                reached = consumer.reached(tp)
                watch = watches.setdefault(tp, StallWatch())
                if watch.stalled(expected, reached and reached.handed, time.monotonic()):
                    self._frames.gauges.seeks += 1
                    await consumer.seek(tp, expected)

    async def _look_at_logs(self) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(_LOOK_AT_LOGS_S)
            await self.app.consumer.look_at_logs()

    async def _tell_group(self) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(_TELL_GROUP_S)
            committed = self.tasks.committed()
            if committed:
                await self.app.consumer.tell_group(committed)

    async def _provisional(self) -> None:
        every_s = self.settings.windows.provisional_every_s
        pause_s = every_s
        while not self.app.should_stop:
            await asyncio.sleep(pause_s)
            started = time.monotonic()
            await self._frames.publish_provisional()
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
        made = report_record(self.settings.kafka, self.report())
        await self._publication.send(made.topic, made.key, made.value, made.headers)

    def report(self) -> LedgerReport:
        """Return the counts of the partitions that are assigned to this worker now."""
        kinds: dict[str, Counts] = {}
        lag = open_windows = unhealthy = 0
        for state in self._frames.all():
            counts = state.windows.counts()
            lag += self._frames.lag(state) or 0
            if not counts.received:
                continue
            total = kinds.setdefault(state.kind.name, Counts())
            for name, value in msgspec.structs.asdict(counts).items():
                setattr(total, name, getattr(total, name) + value)
            open_windows += len(state.windows.open_windows)
            unhealthy += state.sensors.watch.unhealthy if state.sensors else 0
        figures = vars(self._frames.gauges) | self._agents.figures()
        gauges = {name: float(value) for name, value in figures.items()}
        gauges |= {"lag_records": float(lag), "open_windows": float(open_windows)}
        gauges["tasks_reopened"] = float(self.tasks.reopened)
        gauges["unhealthy_sensors"] = float(unhealthy)
        accounts = self.tasks.accounts()
        read = [s for account in accounts.values() for s in account.sequences()]
        read_to = [account.position(*tp) for tp, account in accounts.items()]
        own = (self.settings.worker.id, self.epoch, wall_ms())
        return LedgerReport("worker", *own, kinds, gauges, read=read, read_to=read_to)

    async def main(self, stop: threading.Event) -> None:
        """Run until ``stop`` is set; raise what made the app crash."""
        self.app.finalize()
        await self._publication.start()
        await self.app.start()
        try:
            while not stop.is_set() and not self.app.should_stop:
                await asyncio.sleep(_TICK_S)
        finally:
            crashed = self.app.crash_reason
            await self._stop_app()
            await self.tasks.close()
            await self._publication.stop()
            self._executor.shutdown()
            self._agents.close()
        if crashed is not None:
            raise crashed

    async def _stop_app(self) -> None:
        try:
            await asyncio.wait_for(self.app.stop(), _STOP_S)
        except TimeoutError:
            log.warning("Faust did not stop within %g s; what it held is read again", _STOP_S)


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Run the worker until ``stop`` is set (default: by SIGINT or SIGTERM)."""
    stop = stop or stop_on_signals()
    city = read_city(settings.city.file) if settings.city.file else City()
    wait_for_kafka(settings.kafka, stop=stop)
    topics = topics_of("worker")
    wait_until_available(
        lambda: wait_for_topics(settings.kafka, topics, timeout_s=0),
        "the topics",
        log=log,
        stop=stop,
    )
    if stop.is_set():
        return
    settings.worker.data_dir.mkdir(parents=True, exist_ok=True)
    asyncio.run(Worker(settings, city).main(stop))
