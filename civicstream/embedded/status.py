"""What `civicstream up` shows: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Protocol

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from civicstream.embedded.figures import LedgerHistory, StageFigures
from civicstream.embedded.supervisor import PartState, Supervised

__all__ = ["LiveView", "PlainView", "Row", "View", "make_view", "plain_line", "status_rows"]

Row = tuple[str, str, str, str, str]
"""Part, state, rate, what it has done, restarts."""

# As the data flows.
_ORDER = (
    *("simulator", "mqtt", "gateway", "kafka", "worker", "sink", "database"),
    *("alerts", "deliver", "feeds"),
)

_PLAIN_EVERY_S = 5.0
_STYLE = {
    PartState.READY: "green",
    PartState.STARTING: "yellow",
    PartState.WAITING: "red",
    PartState.STOPPED: "dim",
}


def status_rows(
    parts: Mapping[str, Supervised], history: LedgerHistory, now_ms: int
) -> list[tuple[Row, PartState]]:
    """Return a row per process that runs on, as the data flows; rates per second."""
    rows = []
    for name in (name for name in _ORDER if name in parts):
        s = parts[name]
        rate, done = _figures_of(name, history, now_ms)
        restarts = str(s.record.restarts) if s.record.restarts else ""
        rows.append(((name, s.state.value, rate, done, restarts), s.state))
    return rows


def _figures_of(name: str, history: LedgerHistory, now_ms: int) -> tuple[str, str]:
    """Return the rate and what was done so far; nothing for parts that are not ours."""
    figures = history.figures(name, now_ms)
    rate = ""
    if name in ("gateway", "worker"):
        rate = f"{figures.rate:,.0f} readings/s"
    elif name == "sink":
        rate = f"{history.gauge_rate(name, 'rows_written', now_ms):,.0f} rows/s"
    done = _DONE.get(name)
    return rate, done(figures) if done else ""


def _taken_in(figures: StageFigures) -> str:
    flying = figures.gauges.get("in_flight_messages", 0)
    letters = figures.gauges.get("dead_letters", 0)
    return f"{figures.received:,} received, {flying:,.0f} in flight" + (
        f", {letters:,.0f} dead letters" if letters else ""
    )


def _concluded(figures: StageFigures) -> str:
    gauges = figures.gauges
    return (
        f"{gauges.get('windows_closed', 0):,.0f} windows closed, "
        f"{gauges.get('results_published', 0):,.0f} results, "
        f"{gauges.get('open_incidents', 0):,.0f} incidents, "
        f"{gauges.get('unhealthy_sensors', 0):,.0f} broken sensors, "
        f"{gauges.get('case_versions', 0):,.0f} case changes, lag {_lag(figures)}"
    )


def _stored(figures: StageFigures) -> str:
    gauges = figures.gauges
    return (
        f"{gauges.get('rows_written', 0):,.0f} rows, "
        f"{gauges.get('results_written', 0):,.0f} final results, lag {_lag(figures)}"
    )


def _delivered(figures: StageFigures) -> str:
    gauges = figures.gauges  # <receiver>.delivered, …
    done = sum(count for name, count in gauges.items() if name.endswith(".delivered"))
    return f"{done:,.0f} alerts delivered"


def _served(figures: StageFigures) -> str:
    clients = figures.gauges.get("live_clients", 0)
    return f"{clients:,.0f} live clients, {figures.received:,} reports received"


def _lag(figures: StageFigures) -> str:
    return f"{figures.gauges.get('lag_records', 0):,.0f}"


_DONE: dict[str, Callable[[StageFigures], str]] = {
    "gateway": _taken_in,
    "worker": _concluded,
    "sink": _stored,
    "alerts": lambda figures: f"{figures.gauges.get('alerts_active', 0):,.0f} active alerts",
    "deliver": _delivered,
    "feeds": _served,
}
"""What each part has done so far, as a phrase."""


def plain_line(rows: list[tuple[Row, PartState]]) -> str:
    """Return the rows that have figures as one line; parts that are not ready yet are named."""
    shown = (PartState.READY, PartState.STOPPED)
    pieces = [
        f"{name} {rate} ({done})" if rate else f"{name} ({done})"
        for (name, _, rate, done, _), state in rows
        if done and state in shown
    ]
    for state in (PartState.STARTING, PartState.WAITING):
        names = [row[0] for row, found in rows if found is state]
        pieces += [f"{state.value}: {', '.join(names)}"] if names else []
    restarts = sum(int(row[4] or 0) for row, _ in rows)
    return " | ".join([*pieces, f"restarts {restarts}"])


class View(Protocol):
    """Where the stack's sentences and figures go; a context manager."""

    def __enter__(self) -> View: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def tell(self, sentence: str) -> None:
        """Show an event with its time of day."""

    def explain(self, lines: list[str]) -> None:
        """Show what stays true while the stack runs."""

    def show(self, rows: list[tuple[Row, PartState]], *, last: bool = False) -> None:
        """Show the present figures; the last ones in any case."""


class PlainView:
    """Lines on standard output: every event, and the figures every five seconds."""

    def __init__(self) -> None:
        # Unlimited width: a log line must not be wrapped to some guessed terminal.
        self._console = Console(soft_wrap=True, highlight=False, markup=False)
        self._next = 0.0

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def tell(self, sentence: str) -> None:
        self._print(f"{_clock_time()} {sentence}")

    def explain(self, lines: list[str]) -> None:
        for line in lines:
            self._print(line)

    def show(self, rows: list[tuple[Row, PartState]], *, last: bool = False) -> None:
        if last or time.monotonic() >= self._next:
            self._next = time.monotonic() + _PLAIN_EVERY_S
            self._print(f"{_clock_time()} {plain_line(rows)}")

    def _print(self, line: str) -> None:
        # Nobody may be listening any more (`civicstream up | head`); the stack runs on.
        with contextlib.suppress(OSError):
            self._console.print(line)


class LiveView:
    """A table that stays in place on a terminal, the latest events under it, facts above it."""

    def __init__(self, console: Console) -> None:
        self._events: deque[str] = deque(maxlen=50)
        self._rows: list[tuple[Row, PartState]] = []
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._draw()
            self._live.__exit__(kind, error, trace)

    def tell(self, sentence: str) -> None:
        self._events.append(f"{_clock_time()} {sentence}")
        self._draw()

    def explain(self, lines: list[str]) -> None:
        # Above the table, once: a small screen has no room for it for ever.
        with contextlib.suppress(OSError):
            # Text, not str: a path may hold what rich takes for markup.
            self._live.console.print(Text("\n".join(lines), overflow="fold"))

    def show(self, rows: list[tuple[Row, PartState]], *, last: bool = False) -> None:  # noqa: ARG002
        self._rows = rows
        self._draw()

    def _draw(self) -> None:
        table = Table(box=SIMPLE)
        for column in ("part", "state"):
            table.add_column(column, no_wrap=True)
        table.add_column("rate", justify="right", no_wrap=True)
        table.add_column("so far")
        table.add_column("restarts", justify="right", no_wrap=True)
        for (name, state, *rest), kind in self._rows:
            table.add_row(name, Text(state, style=_STYLE[kind]), *rest)
        events = [
            Text(event, no_wrap=True, overflow="ellipsis")
            for event in list(self._events)[-self._room_beside(table) :]
        ]
        screen = Group(table, *events)
        with contextlib.suppress(OSError):  # the terminal was closed
            self._live.update(screen)

    def _room_beside(self, table: Table) -> int:
        """Return how many lines of events fit: the newest must not fall off the screen's end."""
        console = self._live.console
        taken = len(console.render_lines(table, pad=False))
        return max(1, console.height - taken - 1)


def make_view() -> View:
    """Return the live table on a terminal, plain lines otherwise."""
    console = Console()
    return LiveView(console) if console.is_terminal else PlainView()


def _clock_time() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
