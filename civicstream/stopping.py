"""Orderly end of a process on SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import threading

__all__ = ["stop_on_signals"]


def stop_on_signals() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set; a second signal kills as usual."""
    stop = threading.Event()

    def handler(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    return stop
