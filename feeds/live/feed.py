"""The live feed of a process: Kafka and the database in, clients out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Mapping

import msgspec

from civicstream.city import City
from civicstream.clock import wall_ms
from civicstream.errors import ServerUnavailable
from civicstream.settings import FeedsSettings, Settings
from feeds.history.history_store import HistoryStore
from feeds.live.data_status import QUIET_MS, DataStatus, StatusWatch
from feeds.live.event_items import items_of
from feeds.live.hub import Hub, Limits
from feeds.live.item import Item
from feeds.live.kafka_source import KafkaSource
from feeds.live.places import Places
from feeds.live.state import LiveState, Retention
from feeds.live.stored_events import OFFSETS_QUERY
from feeds.live.warm_start import WarmStart, load
from feeds.problems import Problem

__all__ = ["LiveFeed"]

log = logging.getLogger(__name__)

_LOAD_AGAIN_S = 5.0
_LOG_EVERY_S = 60.0
_FOLLOW_SINK_S = 5.0
_JUDGE_EVERY_S = 1.0
# The stages report to the ledger every second; after this long without a record Kafka is away.
_SILENT_S = 10.0
# Batches on their way from the source's thread to the loop; then the source waits.
_BATCHES = 4


class LiveFeed:
    """``open`` and ``close`` wait for no server; ``end`` ends all streams at once."""

    def __init__(self, settings: Settings, city: City | None) -> None:
        feeds = settings.feeds
        self._url = feeds.database_url or settings.database.url
        self._flush_s = feeds.live_flush_ms / 1000
        self._places = Places(city)
        retention = Retention(closed_ms=round(feeds.live_linger_s * 1000))
        self.hub = Hub(LiveState(retention), _limits(feeds), wall_ms)
        lookback_ms = round(feeds.live_lookback_s * 1000)
        self._watch = StatusWatch(wall_ms(), _results_within_ms(settings))
        self._source = KafkaSource(
            settings.kafka, self._places, self._deliver, lookback_ms, self._watch
        )
        self._store = HistoryStore(self._url)
        self._statuses = itertools.count()
        self._status: DataStatus | None = None
        self._room = threading.Semaphore(_BATCHES)
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._oldest_ms: int | None = None
        self._lag_ms = 0.0
        self.tried = asyncio.Event()
        """The database has been asked for the first time."""

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._store.open()
        self._source.start()
        self._tasks = [
            asyncio.create_task(self._load(), name="live-load"),
            asyncio.create_task(self._flush(), name="live-flush"),
            asyncio.create_task(self._follow_sink(), name="live-sink"),
            asyncio.create_task(self._publish_status(), name="live-status"),
        ]

    def end(self) -> None:
        self.hub.end()

    async def close(self) -> None:
        self.end()
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._source.close)
        await self._store.close()

    def status(self) -> DataStatus:
        """Return whether the city's data is of now."""
        return self._watch.judge(wall_ms())

    def gauges(self) -> Mapping[str, float]:
        """Return the figures for the ledger; lag: from Kafka's time stamp to sending [ms]."""
        return {
            "live_clients": float(self.hub.client_count),
            "live_channels": float(self.hub.channel_count),
            "live_items": float(len(self.hub.state)),
            "live_lag_ms": self._lag_ms,
            "live_conflated": float(self.hub.conflated),
            "live_unreadable": float(self._source.unreadable),
        }

    def _deliver(self, items: list[Item], oldest_ms: int) -> None:
        """Hand items to the loop, on the source's thread."""
        while not self._room.acquire(timeout=0.5):
            if self._closing:
                return
        loop = self._loop
        assert loop is not None  # noqa: S101 the source starts after it is set
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._apply, items, oldest_ms)

    def _apply(self, items: list[Item], oldest_ms: int) -> None:
        self._room.release()
        if self.hub.state.apply(items, wall_ms()) and self._oldest_ms is None:
            self._oldest_ms = oldest_ms

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(self._flush_s)
            last_record_at = self._source.last_record_at
            silent_s = 0.0 if last_record_at is None else time.monotonic() - last_record_at
            self.hub.silent_ms = round(silent_s * 1000) if silent_s > _SILENT_S else 0
            if self._oldest_ms is not None:
                self._lag_ms = float(max(0, wall_ms() - self._oldest_ms))
                self._oldest_ms = None
            self.hub.flush()

    async def _follow_sink(self) -> None:
        """Look every few seconds how far the sink has come."""
        while True:
            with contextlib.suppress(Problem):  # not known: that is a state of its own
                rows = await self._store.fetch(OFFSETS_QUERY, {})
                stored = {(topic, number): offset for topic, number, offset in rows}
                self._watch.stored(stored, wall_ms())
            await asyncio.sleep(_FOLLOW_SINK_S)

    async def _publish_status(self) -> None:
        """Put the status among the live items, as often as it changes."""
        while True:
            found = self.status()
            last = self._status
            if last is None or (last.state, last.detail) != (found.state, found.detail):
                self._status = found
                data = msgspec.json.encode({"id": "city", **msgspec.structs.asdict(found)})
                item = Item("status", "city", data, (next(self._statuses),))
                self.hub.state.apply([item], wall_ms())
            await asyncio.sleep(_JUDGE_EVERY_S)

    async def _load(self) -> None:
        """Take what the database knows, as soon as it answers."""
        said_at = -_LOG_EVERY_S
        while not self.hub.complete:
            try:
                self._take(await load(self._url))
            except ServerUnavailable as error:
                if time.monotonic() - said_at > _LOG_EVERY_S:
                    log.warning("live: from Kafka alone until the database answers: %s", error)
                    said_at = time.monotonic()
                self.tried.set()
                await asyncio.sleep(_LOAD_AGAIN_S)
        self.tried.set()

    def _take(self, warm: WarmStart) -> None:
        now = wall_ms()
        for event in warm.events:
            self.hub.state.apply(items_of(event, self._places), now)
        self._source.rewind(warm.offsets)
        self.hub.complete = True
        log.info("live: %d items from the database", len(self.hub.state))


def _results_within_ms(settings: Settings) -> int:
    """Return how long after a reading a result of its window, provisional or final, is due [ms]."""
    return round(settings.windows.provisional_every_s * 1000) + QUIET_MS


def _limits(feeds: FeedsSettings) -> Limits:
    return Limits(
        clients=feeds.live_max_clients,
        channels=feeds.live_max_channels,
        ring_bytes=feeds.live_resume_mb * 1024 * 1024,
        resume_ms=round(feeds.live_resume_s * 1000),
        heartbeat_ms=round(feeds.live_heartbeat_s * 1000),
    )
