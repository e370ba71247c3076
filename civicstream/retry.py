"""Patience with servers that are away: how long to pause, how to wait, how often to say so."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from civicstream.errors import ServerUnavailable

__all__ = ["ThrottledLog", "pauses", "wait_until_available"]

T = TypeVar("T")

_LOG_EVERY_S = 60.0


def pauses(first_s: float = 0.25, longest_s: float = 5.0) -> Iterator[float]:
    """Yield the pauses [s] between attempts: doubling from ``first_s`` up to ``longest_s``."""
    pause_s = first_s
    while True:
        yield pause_s
        pause_s = min(pause_s * 2, longest_s)


class ThrottledLog:
    """Logs a state once, and again when it changes or has lasted another minute."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._state: str | None = None
        self._logged_at = 0.0

    def warning(self, state: str, message: str, *arguments: object) -> None:
        """Log ``message`` unless this ``state`` was logged within the last minute."""
        now = self._clock()
        if state != self._state or now - self._logged_at >= _LOG_EVERY_S:
            self._state, self._logged_at = state, now
            self._log.warning(message, *arguments)

    def over(self, message: str, *arguments: object) -> None:
        """Log that the state has ended, if one was logged."""
        if self._state is not None:
            self._state = None
            self._log.info(message, *arguments)


def wait_until_available(
    attempt: Callable[[], T],
    what: str,
    *,
    log: logging.Logger,
    stop: threading.Event | None = None,
    timeout_s: float | None = None,
) -> T | None:
    """Return what ``attempt`` returns once it does not raise ServerUnavailable.

    None when ``stop`` was set before. Raise ServerUnavailable after ``timeout_s``. ``what`` is the
    server that is waited for, as an operator calls it.
    """
    stop = stop or threading.Event()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    state = ThrottledLog(log)
    for pause_s in pauses():
        if stop.is_set():
            break
        try:
            found = attempt()
        except ServerUnavailable as error:
            if deadline is not None and time.monotonic() >= deadline:
                raise ServerUnavailable(
                    f"{what} did not answer in {timeout_s:g} s: {error}"
                ) from error
            state.warning(what, "waiting for %s: %s", what, error)
            stop.wait(pause_s)
        else:
            state.over("%s answers", what)
            return found
    return None
