"""What `civicstream up` shows: its events, and one line of figures that stays in place."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from stack.up.figures import LedgerHistory
from stack.up.supervisor import PartState, Supervised

__all__ = ["LINE_WIDTH", "LiveView", "PlainView", "View", "make_view", "status_line"]

LINE_WIDTH = 100

# In a file the figures are for who looks back; what happens is said when it does.
_PLAIN_EVERY_S = 30.0


def status_line(parts: Mapping[str, Supervised], history: LedgerHistory, now_ms: int) -> str:
    """Return what is not ready, the rates per second as the data flows, and what was found."""
    return _cut(" | ".join([*_not_ready(parts), *_rates(history, now_ms), *_found(parts, history)]))


def _not_ready(parts: Mapping[str, Supervised]) -> list[str]:
    pieces = []
    for state in (PartState.STARTING, PartState.WAITING):
        names = [name for name, s in parts.items() if s.state is state]
        # The first ones hold up the others.
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        pieces += [f"{state.value}: {', '.join(names[:3])}{more}"] if names else []
    return pieces


def _rates(history: LedgerHistory, now_ms: int) -> list[str]:
    """Return gateway, worker and sink, each once it has reported."""
    pieces = []
    for stage, what in (("gateway", "readings/s in"), ("worker", "computed"), ("sink", "rows/s")):
        figures = history.figures(stage, now_ms)
        if not figures.gauges:
            continue
        rate = figures.rate
        if stage == "sink":
            rate = history.gauge_rate(stage, "rows_written", now_ms)
        lag = figures.gauges.get("lag_records", 0)
        pieces.append(f"{_short(rate)} {what}" + (f", lag {_short(lag)}" if lag else ""))
    return pieces


def _found(parts: Mapping[str, Supervised], history: LedgerHistory) -> list[str]:
    gauges = {
        name: value
        for stage in ("gateway", "worker", "alerts")
        for name, value in history.figures(stage, 0).gauges.items()
    }
    counts = (
        (gauges.get("open_incidents", 0), "incident", "incidents"),
        (gauges.get("alerts_active", 0), "alert", "alerts"),
        (gauges.get("dead_letters", 0), "dead letter", "dead letters"),
        (sum(s.record.restarts for s in parts.values()), "restart", "restarts"),
    )
    return [
        f"{_short(count)} {one if count == 1 else many}" for count, one, many in counts if count
    ]


def _short(value: float) -> str:
    """Return e.g. ``9,870``, ``12k`` or ``3.4M``."""
    if value < 10_000:
        return f"{value:,.0f}"
    return f"{value / 1e3:,.0f}k" if value < 1_000_000 else f"{value / 1e6:,.1f}M"


def _cut(line: str) -> str:
    return line if len(line) <= LINE_WIDTH else line[: LINE_WIDTH - 1] + "…"


class View(Protocol):
    """Where the stack's sentences and figures go; a context manager."""

    def __enter__(self) -> View: ...

    def __exit__(self, *_: object) -> None: ...

    def log(self, sentence: str) -> None:
        """Show an event with its time of day."""

    def explain(self, lines: list[str]) -> None:
        """Show what stays true while the stack runs."""

    def show(self, line: str, *, last: bool = False) -> None:
        """Show the present figures; the last ones in any case."""


class PlainView:
    """Lines on standard output: every event, and the figures now and then."""

    def __init__(self) -> None:
        # Unlimited width: a log line must not be wrapped to some guessed terminal.
        self._console = Console(soft_wrap=True, highlight=False, markup=False)
        self._next = 0.0

    def __enter__(self) -> PlainView:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def log(self, sentence: str) -> None:
        self._print(f"{_clock_time()} {sentence}")

    def explain(self, lines: list[str]) -> None:
        for line in lines:
            self._print(line)

    def show(self, line: str, *, last: bool = False) -> None:
        if line and (last or time.monotonic() >= self._next):
            self._next = time.monotonic() + _PLAIN_EVERY_S
            self._print(f"{_clock_time()} {line}")

    def _print(self, line: str) -> None:
        # Nobody may be listening any more (`civicstream up | head`); the stack runs on.
        with contextlib.suppress(OSError):
            self._console.print(line)


class LiveView:
    """Events scroll by on a terminal as anywhere; the line of figures below them is rewritten."""

    def __init__(self, console: Console) -> None:
        self._live = Live(Text(), console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._live.stop()

    def log(self, sentence: str) -> None:
        self.explain([f"{_clock_time()} {sentence}"])

    def explain(self, lines: list[str]) -> None:
        with contextlib.suppress(OSError):
            # Text, not str: a path may hold what rich takes for markup. Not wrapped: a command
            # that is copied must come in one piece.
            self._live.console.print(Text("\n".join(lines)), soft_wrap=True)

    def show(self, line: str, *, last: bool = False) -> None:  # noqa: ARG002
        with contextlib.suppress(OSError):  # the terminal was closed
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"))


def make_view() -> View:
    """Return the rewritten line on a terminal, plain lines otherwise."""
    console = Console()
    return LiveView(console) if console.is_terminal else PlainView()


def _clock_time() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
