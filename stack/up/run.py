"""`civicstream up`: run the stack until it is asked to stop."""

from __future__ import annotations

import logging
import signal
import threading
import time
from dataclasses import replace

from rich.console import Console
from rich.progress import Progress

from civicstream.clock import wall_ms
from civicstream.errors import ConfigurationError
from civicstream.settings import Settings, load_settings
from civicstream.stopping import stop_on_signals
from stack.data_folder import DataFolder
from stack.servers.kafka_jars import fetch_jars, jar_cache, kafka_version, pinned_jars
from stack.up.addresses import choose_addresses
from stack.up.options import StackOptions
from stack.up.outcome import replay_outcome
from stack.up.part_settings import connection_sections
from stack.up.parts import Stack
from stack.up.status import View, make_view, status_line
from stack.up.supervisor import Supervisor
from stack.up.welcome import welcome

__all__ = ["run"]

_TICK_S = 0.2


def run(options: StackOptions, stop: threading.Event | None = None) -> None:
    """Start everything, supervise it until ``stop``, stop everything.

    Raise ConfigurationError when a person must change something first (a port in use, a folder
    taken), ServerUnavailable when a part cannot be brought up; nothing is left running.
    """
    settings = _with_city(load_settings(options.config), options)
    if not options.http_port and "port" in settings.feeds.model_fields_set:
        options = replace(options, http_port=settings.feeds.port)
    addresses = choose_addresses(options)
    stop = stop or _stop_on_signals()
    if not options.kafka:
        _fetch_kafka()
    with DataFolder(options.data, fresh=options.fresh) as folder, make_view() as view:
        _log_to(view)
        stack = Stack(options, settings, addresses, folder)
        folder.write_connection_file(connection_sections(settings, stack.sections))
        supervisor = Supervisor(stack.parts(), log=view.log)
        with stack.watch:
            try:
                _start(supervisor, stack, view, stop)
                if not stop.is_set():
                    folder.write_connection_file(
                        connection_sections(settings, stack.sections_for_people())
                    )
                    view.explain(welcome(stack, settings, folder))
                _keep_up(supervisor, stack, view, stop, options.duration_s)
                if options.replay and not stop.is_set():
                    supervisor.end("replay")
                    view.explain(replay_outcome(folder))
            finally:
                view.log("stopping: what is under way is finished first")
                supervisor.stop()
                _show(supervisor, stack, view, last=True)
                view.log("everything has stopped")


def _fetch_kafka() -> None:
    """Bring Apache Kafka into the user's cache, the first time with a bar that shows how far."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"fetching Apache Kafka {kafka_version()}", visible=False)

        def progress(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of, visible=True)

        fetch_jars(pinned_jars(), jar_cache(), progress=progress)


def _stop_on_signals() -> threading.Event:
    """Return the event of Ctrl-C and SIGTERM, which a closed terminal (SIGHUP) sets too."""
    stop = stop_on_signals()
    signal.signal(signal.SIGHUP, lambda _number, _frame: stop.set())
    return stop


class _ViewHandler(logging.Handler):
    """Puts our own warnings among the view's sentences, not across its table."""

    def __init__(self, view: View) -> None:
        super().__init__(logging.WARNING)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        self._view.log(record.getMessage())


def _log_to(view: View) -> None:
    logging.getLogger().handlers = [_ViewHandler(view)]
    # Its complaints repeat what the supervisor says when a broker is away.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def _start(supervisor: Supervisor, stack: Stack, view: View, stop: threading.Event) -> None:
    while not supervisor.all_ready() and not stop.wait(_TICK_S):
        supervisor.tick()
        _show(supervisor, stack, view)


def _keep_up(
    supervisor: Supervisor,
    stack: Stack,
    view: View,
    stop: threading.Event,
    duration_s: float | None,
) -> None:
    ends = None if duration_s is None else time.monotonic() + duration_s
    while not stop.wait(_TICK_S) and (ends is None or time.monotonic() < ends):
        supervisor.tick()
        _show(supervisor, stack, view)
        if supervisor.over():
            return


def _show(supervisor: Supervisor, stack: Stack, view: View, *, last: bool = False) -> None:
    line = stack.watch.ask(lambda history: status_line(supervisor.parts, history, wall_ms()))
    view.show(line, last=last)


def _with_city(settings: Settings, options: StackOptions) -> Settings:
    """Return the settings with the city of ``--city``; it wins over theirs."""
    if options.city is None:
        return settings
    if options.replay is not None:
        raise ConfigurationError("--city and --replay: the recorded city has a model of its own")
    if not options.city.is_file():
        raise ConfigurationError(f"--city {options.city}: no such file; docs/city.md says how")
    city = settings.city.model_copy(update={"file": options.city})
    return settings.model_copy(update={"city": city})
