"""The feeds process: uvicorn around the application, with Kafka and the database behind it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import uvicorn
import uvloop

from civicstream.city import City
from civicstream.clock import now_ms, wall_ms
from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.geojson import read_city
from civicstream.report_making import ReportMaker
from civicstream.retry import ThrottledLog
from civicstream.services import load_services
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from feeds.access.access import Access
from feeds.api import make_api
from feeds.api_keys import load_api_keys
from feeds.app import OPEN311_PATH, make_app
from feeds.areas import AreaFinder
from feeds.cap.routes import Cap
from feeds.history.routes import History
from feeds.ledger import FeedsLedger
from feeds.live.feed import LiveFeed
from feeds.live.routes import live_router
from feeds.open311.routes import Open311
from feeds.operations.operations import Operations
from feeds.page import page_routes
from feeds.report_output import ReportOutput
from feeds.report_service import ReportService
from feeds.report_store import ReportStore

__all__ = ["run"]

log = logging.getLogger(__name__)

_REPORT_EVERY_S = 1.0
_LOOK_EVERY_S = 0.2
# A request that is still open at the end has waited for Kafka longer than its own time limit.
_CLOSE_TIMEOUT_S = 15
_OTHER_CONNECTIONS = 500
_OTHER_FILES = 100  # Kafka, the database, what is served from disk
_SOCKET_BYTES = 64 * 1024  # nothing that clients send over a WebSocket is looked at
_SEND_BUFFER_BYTES = 256 * 1024
# A client that takes nothing at all for this long is cut off (tcp(7)); it can resume.
_STALLED_MS = 30_000


class _Server(uvicorn.Server):
    """uvicorn that leaves the signals to us: ``civicstream.stopping`` has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Opened(Protocol):
    """What has connections or tasks of its own; neither call waits for a server."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True)
class _Parts:
    server: _Server
    listener: socket.socket
    store: ReportStore
    output: ReportOutput
    ledger: FeedsLedger
    live: LiveFeed
    opened: tuple[_Opened, ...]


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Serve until ``stop`` is set (default: SIGINT or SIGTERM).

    Raise ConfigurationError before serving for a wrong file or an address in use.
    """
    stop = stop or stop_on_signals()
    _quiet_libraries()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, stop))


def _quiet_libraries() -> None:
    """Unless verbose: of each attempt to connect again the libraries write lines of their own.

    One line of ours, every ten seconds, says what is away.
    """
    if logging.getLogger("kafka").isEnabledFor(logging.INFO):  # only when verbose
        return
    for name in ("kafka.net", "kafka.cluster", "psycopg.pool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


async def _serve(settings: Settings, stop: threading.Event) -> None:
    parts = _assemble(settings)
    host, port = parts.listener.getsockname()[:2]
    log.info("Open311 at http://%s:%d%s", host, port, OPEN311_PATH)
    serving = asyncio.create_task(parts.server.serve(sockets=[parts.listener]))
    reporting = asyncio.create_task(_report(parts))
    try:
        for part in parts.opened:
            await part.open()
        while not stop.is_set() and not serving.done():
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        reporting.cancel()
        parts.live.end()  # or the server would wait for streams that have no end
        parts.server.should_exit = True
        await asyncio.gather(serving, reporting, return_exceptions=True)
        for part in reversed(parts.opened):
            await part.close()
        await asyncio.to_thread(parts.output.close)
        parts.listener.close()


def _allow_open_files(connections: int) -> None:
    """Raise our own limit of open files, as far as we may; every connection is one."""
    needed = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning(
            "%d open files are allowed, %d live clients need %d; raise the limit (ulimit -n) or "
            "lower CIVICSTREAM_FEEDS__LIVE_MAX_CLIENTS",
            allowed,
            connections,
            needed,
        )


def _assemble(settings: Settings) -> _Parts:
    feeds = settings.feeds
    _allow_open_files(feeds.live_max_clients + _OTHER_CONNECTIONS)
    services = load_services(settings.reports.services_file)
    keys = load_api_keys(feeds)
    store = ReportStore(feeds.database_url or settings.database.url)
    output = ReportOutput(settings.kafka, f"feeds/{feeds.id}", feeds.confirm_timeout_s)
    ledger = FeedsLedger(settings.kafka, feeds.id, wall_ms())
    city = read_city(settings.city.file) if settings.city.file else None
    live = LiveFeed(settings, city)
    ledger.gauges.append(live.gauges)
    history = History(settings, city)
    cap = Cap(settings, city, now_ms)
    access = Access(settings)
    operations = Operations(settings, output.publish)
    reports = _report_service(settings, city, output, ledger)
    if reports is not None and not keys and not feeds.allow_anonymous:
        log.warning(
            "no API key is set, so nobody can post reports; set CIVICSTREAM_FEEDS__API_KEYS "
            "or __API_KEYS_FILE, or __ALLOW_ANONYMOUS=true"
        )
    open311 = Open311(feeds, services, keys, store.find, reports)
    api = make_api([live_router(live), history.router(), operations.router()])
    app = make_app(
        open311.routes(),
        api,
        [*access.routes(), *history.open_data(), *cap.routes(), *page_routes()],
        access.guard,
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # addresses of citizens and keys in queries are nobody's business
        server_header=False,
        lifespan="off",
        timeout_keep_alive=10,
        timeout_graceful_shutdown=_CLOSE_TIMEOUT_S,
        limit_concurrency=feeds.live_max_clients + _OTHER_CONNECTIONS,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=_SOCKET_BYTES,
        ws_per_message_deflate=feeds.live_websocket_compression,
    )
    listener = _listen(feeds.host, feeds.port)
    opened = (store, history, access, operations, live, cap)
    return _Parts(
        server=_Server(config),
        listener=listener,
        store=store,
        output=output,
        ledger=ledger,
        live=live,
        opened=opened,
    )


def _report_service(
    settings: Settings, city: City | None, output: ReportOutput, ledger: FeedsLedger
) -> ReportService | None:
    try:
        maker = ReportMaker.from_settings(settings)
    except ConfigurationError as error:
        if settings.privacy.public_key is not None:
            raise
        log.warning("no reports are taken in: %s", error)
        return None
    areas = AreaFinder(city.areas) if city else None
    return ReportService(settings, maker, areas, output.publish, ledger)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2_048)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port} ({os.strerror(error.errno or 0)}); set "
            "CIVICSTREAM_FEEDS__HOST and __PORT to a free address of this machine"
        ) from error
    # Connections have these from the listener. What a slow client has not read waits in our
    # state, where the newest replaces it, rather than in megabytes of the kernel's.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALLED_MS)
    return listener


async def _report(parts: _Parts) -> None:
    """Publish the ledger every second, and say it while Kafka or the database is away."""
    state = ThrottledLog(log)
    while True:
        away = await _away(parts)
        if away:
            state.warning(", ".join(sorted(away)), "waiting: %s", "; ".join(away.values()))
        else:
            state.over("Kafka and the database answer")
        await asyncio.sleep(_REPORT_EVERY_S)


async def _away(parts: _Parts) -> dict[str, str]:
    """Return what is wrong by the server that does not answer."""
    found = {}
    try:
        await parts.output.publish(parts.ledger.due(wall_ms()))
    except ServerUnavailable as error:
        found["Kafka"] = str(error)
    if not await parts.store.answers():
        found["the database"] = "the database does not answer; requests cannot be read"
    return found
