"""Wakes a loop that waits in select, from another thread."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["Bell"]


class Bell:
    """Readable for select from ``ring`` until ``silence``."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._rung = False

    def fileno(self) -> int:
        return self._near.fileno()

    def ring(self) -> None:
        """Wake the loop; cheap when it is awake. Safe from any thread."""
        if not self._rung:
            self._rung = True
            with contextlib.suppress(OSError):  # full: it rings already; closed: nobody listens
                self._far.send(b"!")

    def silence(self) -> None:
        """Forget the rings so far; look at their causes after this, not before."""
        with contextlib.suppress(BlockingIOError):
            while self._near.recv(64):
                pass
        # Last: a ring in between is either still to be read, or its cause is looked at next.
        self._rung = False

    def close(self) -> None:
        self._near.close()
        self._far.close()
