"""A socket that reads and writes in large pieces.

paho reads a packet as one byte, another byte, and the rest, each a system call, and writes every
acknowledgement with one more. At QoS 1 those calls are most of a gateway's work. Behind this
wrapper, with the methods that paho asks of a socket, a piece of 64 KiB costs one.
"""

from __future__ import annotations

import socket
import ssl

__all__ = ["BufferedSocket"]

_PIECE = 64 * 1024
_LARGEST_PIECE = 1024 * 1024


class BufferedSocket:
    """Wraps a connected, non-blocking TCP or TLS socket."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._received = b""
        self._at = 0
        self._unsent = bytearray()

    def recv(self, size: int) -> bytes:
        """Return 1 to ``size`` bytes, b"" at the end; raises as the socket where there are none."""
        at = self._at
        data = self._received[at : at + size]
        if data:
            self._at = at + len(data)
            return data
        self._received = self._raw.recv(min(max(size, _PIECE), _LARGEST_PIECE))
        data = self._received[:size]
        self._at = len(data)
        return data

    def pending(self) -> int:
        """Return the number of bytes that can be read without waiting."""
        buffered = len(self._received) - self._at
        if not buffered and isinstance(self._raw, ssl.SSLSocket):
            return self._raw.pending()
        return buffered

    def send(self, data: bytes | bytearray) -> int:
        """Take all of ``data``; it leaves with the next ``flush``."""
        self._unsent += data
        return len(data)

    def flush(self) -> bool:
        """Send what the socket takes; return whether all is sent. Raises OSError when cut."""
        while self._unsent:
            try:
                sent = self._raw.send(self._unsent)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            del self._unsent[:sent]
        return True

    def close(self) -> None:
        self._raw.close()

    def fileno(self) -> int:
        return self._raw.fileno()

    def settimeout(self, timeout_s: float) -> None:
        """Let ``flush`` wait for the socket, at most this long; then it raises TimeoutError."""
        self._raw.settimeout(timeout_s)

    def setblocking(self, flag: bool) -> None:
        self._raw.setblocking(flag)
