"""The whole embedded stack, started as a user starts it, with a simulator started beside it."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.stage import environment, running
from civicstream.errors import ServerUnavailable
from civicstream.settings import Settings, load_settings
from stack.servers.processes import Child

__all__ = ["StackUnderTest", "running_stack", "simulator_counts", "start_simulator"]

_START_S = 120


@dataclass(frozen=True)
class StackUnderTest:
    """A running stack: its settings for clients, and a database address for reading."""

    settings: Settings
    settings_file: Path
    reader_url: str
    process: Child


@contextmanager
def running_stack(folder: Path, city_file: Path) -> Iterator[StackUnderTest]:
    """Run ``civicstream up --no-simulator`` on ``city_file``; all of it ends with the block."""
    # Root's embedded PostgreSQL runs as another user, who must get through to its folder.
    folder.chmod(0o711)
    data = folder / "data"
    arguments = ["stack.cli", "up", "--no-simulator", "--data", str(data)]
    settings_of_up = environment(city__file=city_file)
    with running("up", arguments, folder, settings_of_up, orphan_signal=signal.SIGTERM) as up:
        # Written when every part is ready.
        url_file, settings_file = data / "database.url", data / "civicstream.toml"
        up.wait_ready(url_file.exists, timeout_s=_START_S)
        settings = load_settings(settings_file, environ={})
        url = url_file.read_text(encoding="utf-8").strip()
        yield StackUnderTest(settings, settings_file, url, up)


def start_simulator(
    stack: StackUnderTest, city_file: Path, folder: Path, *, rate: float, seconds: float
) -> Child:
    """Start publishing ``rate`` readings/s, one a message, for ``seconds``."""
    command = [
        sys.executable,
        "-m",
        "stack.cli",
        "simulate",
        "--city",
        str(city_file),
        "--rate",
        f"{rate:g}",
        "--duration",
        f"{seconds:g}",
        "--config",
        str(stack.settings_file),
    ]
    log_file = folder / f"simulator-{rate:g}-{os.urandom(4).hex()}.log"
    return Child("simulator", command, log_file, environment(), orphan_signal=signal.SIGKILL)


class SimulatorCounts(msgspec.Struct):
    """Of what the simulator prints at its end; times in epoch ms."""

    published: int
    acked: int
    started_at: int
    ended_at: int

    @property
    def elapsed_s(self) -> float:
        return (self.ended_at - self.started_at) / 1000


def simulator_counts(simulator: Child) -> SimulatorCounts:
    """Return what an ended simulator published."""
    text = simulator.log_file.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"^\{.*\}$", text, re.MULTILINE)
    if not found:
        raise ServerUnavailable(
            f"the simulator ended with code {simulator.returncode} and no counts:\n"
            f"{simulator.last_words()}"
        )
    return msgspec.json.decode(found[-1], type=SimulatorCounts)
