"""Patience with servers that are away: how long to pause, how to wait, how often to say so."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from civicstream.errors import ServerUnavailable

__all__ = ["RetryTimer", "ThrottledLog", "pauses", "wait_until_available"]

T = TypeVar("T")

_LOG_EVERY_S = 60.0


def pauses(first_s: float = 0.25, longest_s: float = 5.0) -> Iterator[float]:
    """Yield the pauses [s] between attempts: doubling from ``first_s`` up to ``longest_s``."""
    pause_s = first_s
    while True:
        yield pause_s
        pause_s = min(pause_s * 2, longest_s)


class RetryTimer:
    """When a loop that must not wait may try again; times are of a monotonic clock [s]."""

    def __init__(self, first_s: float = 0.25, longest_s: float = 5.0, spread: float = 0.0) -> None:
        """``spread``: share by which a pause is longer or shorter, that not all come at once."""
        self._bounds = first_s, longest_s
        self._spread = spread
        self._pauses = pauses(first_s, longest_s)
        self._due_at = 0.0

    def is_due(self, now: float) -> bool:
        return now >= self._due_at

    def failed(self, now: float) -> None:
        """Have the next attempt wait, each time longer than the time before."""
        self._due_at = now + next(self._pauses) * random.uniform(1 - self._spread, 1 + self._spread)

    def succeeded(self) -> None:
        """Begin with the first pause again."""
        self._pauses = pauses(*self._bounds)


class ThrottledLog:
    """Logs a state once, and again when it changes or has lasted ``again_s``."""

    def __init__(
        self,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
        *,
        again_s: float = _LOG_EVERY_S,
    ) -> None:
        self._log = log
        self._clock = clock
        self._again_s = again_s
        self._state: str | None = None
        self._logged_at = 0.0

    def warning(self, state: str, message: str, *arguments: object) -> None:
        """Log ``message`` unless this ``state`` was logged within the last ``again_s``."""
        now = self._clock()
        if state != self._state or now - self._logged_at >= self._again_s:
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
