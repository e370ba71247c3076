"""Child processes that never outlive us and are stopped by their own id."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from civicstream.errors import ConfigurationError, ServerUnavailable

__all__ = ["Child", "check_port_free", "free_port", "port_answers", "wait_until"]

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: a child of a process with threads must not take the loader's lock.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def free_port() -> int:
    """Return a TCP port on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_answers(port: int, host: str = "127.0.0.1") -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=0.5):
        return True
    return False


def check_port_free(port: int, who: str) -> None:
    """Raise ConfigurationError when something answers on ``port`` of loopback."""
    if port_answers(port):
        raise ConfigurationError(
            f"port {port} is in use, {who} cannot listen there; give another, or 0 for a free one"
        )


def wait_until(
    condition: Callable[[], bool], what: str, *, timeout_s: float, every_s: float = 0.05
) -> None:
    """Return as soon as ``condition`` holds; raise ServerUnavailable naming ``what`` if late."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise ServerUnavailable(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)


def _die_with_parent(parent: int, number: int) -> None:
    """Ask Linux to send the child signal ``number`` when the parent dies, also by kill -9.

    Linux means the parent's *thread*: start children from a thread that lives as long as they.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)


class Child:
    """One child process; its output goes to a log file.

    ``stop_signal`` asks it for an orderly end, ``orphan_signal`` (default: the same) is what it
    gets when this process dies without stopping it. ``user``: run as that user (needs root).
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        log_file: Path,
        environment: dict[str, str] | None = None,
        *,
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
        orphan_signal: int | None = None,
    ) -> None:
        self.name = name
        self.log_file = log_file
        self._stop_signal = stop_signal
        at_orphanhood = functools.partial(
            _die_with_parent, os.getpid(), stop_signal if orphan_signal is None else orphan_signal
        )
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [str(a) for a in arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=[] if user else None,
                # Runs after the change of user, which would undo it; one call, no locks.
                preexec_fn=at_orphanhood,  # noqa: PLW1509
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def cpu_s(self) -> float:
        """Return the processor time [s] it and its children have used; 0 when it has ended."""
        import psutil  # of the embedded stack only

        with contextlib.suppress(psutil.Error):
            times = psutil.Process(self.pid).cpu_times()
            return float(times.user + times.system + times.children_user + times.children_system)
        return 0.0

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, no clean-up."""
        self._process.kill()
        self._process.wait()

    def stop(self, timeout_s: float = 15) -> int:
        """Ask it to end, insist after ``timeout_s``; return its exit code."""
        if self.alive():
            self._process.send_signal(self._stop_signal)
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait()

    def last_words(self, lines: int = 15) -> str:
        """Return the end of its log."""
        text = self.log_file.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float = 30) -> None:
        """Return when ``ready``; raise ServerUnavailable with its last words if it ends first."""

        def settled() -> bool:
            if not self.alive():
                raise ServerUnavailable(
                    f"{self.name} ended with code {self.returncode} before it was ready:\n"
                    f"{self.last_words()}"
                )
            return ready()

        wait_until(settled, f"{self.name} becoming ready", timeout_s=timeout_s)
