"""The worker process: Faust feeds partitions, timers drive what no frame triggers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import faust
import msgspec
from faust.types import TP

from civicstream.city import City
from civicstream.clock import city_clock, wall_ms
from civicstream.events import Counts, LedgerReport
from civicstream.geojson import read_city
from civicstream.kafka.clients import wait_for_kafka
from civicstream.kafka.ledger_report import report_record
from civicstream.kafka.rights import topics_of
from civicstream.kafka.topic_admin import wait_for_topics
from civicstream.local_time import local_offset
from civicstream.retry import wait_until_available
from civicstream.services import load_services
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from streams.dispatch.allocation import DispatchSettings
from streams.dispatch.dispatch import Dispatch
from streams.dispatch.dispatch_task import DispatchTask
from streams.frames.frames_task import FramesTask
from streams.network.network_judgement import RoadOutlook
from streams.network.network_task import NetworkTask
from streams.runtime.app import make_app
from streams.runtime.offset_gate import StallWatch
from streams.runtime.publication import Publication
from streams.runtime.task import Task
from streams.runtime.tasks import Tasks
from streams.windows.network import RoadNetwork

__all__ = ["Worker", "run"]

log = logging.getLogger(__name__)

_TICK_S = 0.1

# Calculating provisional results may take at most this share of the time; under heavy load they
# come less often instead of slowing the final ones.
_PROVISIONAL_SHARE = 0.2

# Without Kafka, Faust's stop waits for ever for its last commit.
_STOP_S = 15.0

_COMMIT_TO_GROUP_S = 5.0

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
        self._network = _network_task(settings, RoadNetwork(city), self._executor)
        self._dispatch = _dispatch_task(settings, city, self._outlook)
        self._frames = FramesTask(
            settings,
            city,
            self._executor,
            network=self._network is not None,
            levels=self._dispatch is not None,
        )
        city_tasks = [task for task in (self._network, self._dispatch) if task is not None]
        tasks: list[Task[Any]] = [self._frames, *city_tasks]
        self._gauges = [task.gauges for task in (self._frames, *city_tasks)]
        self.tasks = Tasks(self.app, settings.kafka, tasks, self._fail)
        self._kafka_confirmed_at = 0.0
        self.app.on_rebalance_complete.connect(self._assigned)
        self.app.on_partitions_revoked.connect(self._revoked)
        for loop in (
            self._tick,
            self._provisional,
            self._report,
            self._seek_left_out,
            self._look_at_logs,
            self._commit_to_group,
        ):
            self.app.task(loop)

    def _positions(self) -> dict[TP, int]:
        return self.tasks.positions()

    def _outlook(self) -> RoadOutlook | None:
        return self._network.outlook() if self._network else None

    async def _assigned(self, app: faust.App, **_: object) -> None:
        await self.tasks.assigned(app.consumer.assignment())

    async def _revoked(self, app: faust.App, revoked: set[TP], **_: object) -> None:
        self.tasks.revoked()
        app.consumer.forget(revoked)

    def _fail(self, error: BaseException) -> None:
        log.error("stopping, what was due could not be published", exc_info=error)
        self._crashing = asyncio.ensure_future(self.app.crash(error))

    async def _tick(self) -> None:
        """Tell the tasks that time goes by: the watermark of silent partitions goes on with it.

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
            self.tasks.tick(round(elapsed_s * 1000 * speed), observed=observed)

    async def _seek_left_out(self) -> None:
        """Go back for records that Faust has left out and that nothing else would show."""
        watches: dict[TP, StallWatch] = {}
        while not self.app.should_stop:
            await asyncio.sleep(1.0)
            consumer = self.app.consumer
            for tp in consumer.changed_logs():
                self.tasks.log_changed(tp)
            for tp, expected in self.tasks.positions().items():
                reached = consumer.reached(tp)
                watch = watches.setdefault(tp, StallWatch())
                if watch.stalled(expected, reached and reached.handed, time.monotonic()):
                    await self.tasks.seek(tp)

    async def _look_at_logs(self) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(_LOOK_AT_LOGS_S)
            await self.app.consumer.look_at_logs()

    async def _commit_to_group(self) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(_COMMIT_TO_GROUP_S)
            committed = self.tasks.committed()
            if committed:
                await self.app.consumer.commit_to_group(committed)

    async def _provisional(self) -> None:
        every_s = self.settings.windows.provisional_every_s
        pause_s = every_s
        while not self.app.should_stop:
            await asyncio.sleep(pause_s)
            started, spent_before_s = time.monotonic(), self._frames.gauges.provisional_cpu_s
            partitions = self._frames.partitions.values()
            # Side by side: each waits for Kafka in a transaction of its own.
            await asyncio.gather(*(partition.publish_provisional() for partition in partitions))
            took_s = time.monotonic() - started
            spent_s = self._frames.gauges.provisional_cpu_s - spent_before_s
            pause_s = max(every_s - took_s, spent_s / _PROVISIONAL_SHARE - took_s, _TICK_S)

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
        lags = self.tasks.lags()
        for state in self._frames.streams():
            counts = state.windows.counts()
            lag += lags[TP(state.topic, state.state.partition)] or 0
            if not counts.received:
                continue
            total = kinds.setdefault(state.kind.name, Counts())
            for name, value in msgspec.structs.asdict(counts).items():
                setattr(total, name, getattr(total, name) + value)
            open_windows += len(state.windows.open_windows)
            unhealthy += state.sensors.watch.unhealthy if state.sensors else 0
        gauges = {n: float(value) for of_task in self._gauges for n, value in vars(of_task).items()}
        gauges |= {"lag_records": float(lag), "open_windows": float(open_windows)}
        gauges["tasks_reopened"] = float(self.tasks.reopened)
        gauges["repeated_records"] = float(self.tasks.repeated)
        gauges["seeks"] = float(self.tasks.sought)
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
            if self._dispatch is not None:
                self._dispatch.close()
        if crashed is not None:
            raise crashed

    async def _stop_app(self) -> None:
        try:
            await asyncio.wait_for(self.app.stop(), _STOP_S)
        except TimeoutError:
            log.warning("Faust did not stop within %g s; what it held is read again", _STOP_S)


def _network_task(
    settings: Settings, network: RoadNetwork, executor: Executor
) -> NetworkTask | None:
    """Return the task of the roads, None where settings or city have no use for it."""
    wanted = settings.intelligence
    if not len(network) or (wanted.incidents == "none" and not wanted.forecasts):
        return None
    return NetworkTask(settings, network, executor)


def _dispatch_task(
    settings: Settings, city: City, outlook: Callable[[], RoadOutlook | None]
) -> DispatchTask | None:
    """Return the task of cases and crews, None where the settings do not want it."""
    wanted = settings.allocation
    if not wanted.enabled:
        return None
    services = load_services(settings.reports.services_file)
    plan = DispatchSettings(policy=wanted.policy, plan_every_s=wanted.plan_every_s)
    offset = local_offset(settings.city.timezone)
    return DispatchTask(settings.kafka, lambda: Dispatch(services, city, plan, offset), outlook)


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
