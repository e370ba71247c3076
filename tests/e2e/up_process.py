"""A running `civicstream up` in its own folder, ended by its own id."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stack.servers.processes import free_port, wait_until

__all__ = ["UpProcess", "running_up"]


@dataclass
class UpProcess:
    """``url`` of the page, without a slash at its end."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, text: str, timeout_s: float) -> None:
        """Return when the output has ``text``; fail when it ends before."""

        def said() -> bool:
            found = text in self.output
            assert found or self.process.poll() is None, self.output
            return found

        wait_until(said, f"{text!r} in {self.log}", timeout_s=timeout_s, every_s=0.2)


@contextmanager
def running_up(folder: Path, *options: str | Path) -> Iterator[UpProcess]:
    """Start it with an embedded stack of its own; end it with SIGTERM, and wait for that."""
    port, log = free_port(), folder / "up.log"
    command = [sys.executable, "-m", "stack.cli", "up", "--data", str(folder / "data")]
    command += ["--http-port", str(port), *(str(option) for option in options)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield UpProcess(f"http://127.0.0.1:{port}", process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(90)
