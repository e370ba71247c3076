"""``start``: how soon the embedded stack is ready, and what it takes while nothing comes in.

``ready_s`` is from the command to every part ready, on an empty data folder with Kafka's jars in
the cache, the simulated city included; ``worker_ready_s`` from kill -9 of the worker, under the
simulated load, to its first report. Then the same folder without the simulator: ``memory_mb``
(proportional set size, which counts shared pages once) and ``cores`` by process at rest.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.process_usage import cpu_seconds_by_part, memory_mb_by_part
from benchmarks.stage import environment, running
from stack.servers.kafka_jars import fetch_jars, jar_cache, pinned_jars
from stack.servers.processes import Child, wait_until

__all__ = ["run"]

_TIMEOUT_S = 180
_SETTLING_S = 10  # after a start: what it left over is worked off


def run(*, seconds: float) -> dict[str, object]:
    """Start the stack twice; the second rests for ``seconds`` while it is measured."""
    fetch_jars(pinned_jars(), jar_cache())
    with tempfile.TemporaryDirectory(prefix="civicstream-bench-") as name:
        folder = Path(name)
        # Root's embedded PostgreSQL runs as another user, who must get through to its folder.
        folder.chmod(0o711)
        with _stack(folder, "loaded") as (up, ready_s):
            worker_ready_s = _worker_back_s(up)
        with _stack(folder, "resting", "--no-simulator") as (up, again_ready_s):
            cores, memory_mb = _at_rest(up, seconds)
    return {
        "ready_s": round(ready_s, 1),
        "ready_again_s": round(again_ready_s, 1),
        "worker_ready_s": round(worker_ready_s, 1),
        "cores": {part: round(value, 3) for part, value in cores.items()},
        "cores_in_all": round(sum(cores.values()), 2),
        "memory_mb": {part: round(value) for part, value in memory_mb.items()},
        "memory_mb_in_all": round(sum(memory_mb.values())),
    }


@contextmanager
def _stack(folder: Path, name: str, *options: str) -> Iterator[tuple[Child, float]]:
    data = folder / "data"
    url_file = data / "database.url"  # written when every part is ready
    url_file.unlink(missing_ok=True)
    arguments = ["stack.cli", "up", "--data", str(data), *options]
    began = time.monotonic()
    with running(name, arguments, folder, environment(), orphan_signal=signal.SIGTERM) as up:
        up.wait_ready(url_file.exists, timeout_s=_TIMEOUT_S)
        yield up, time.monotonic() - began


def _worker_back_s(up: Child) -> float:
    """Kill the worker as a crash would; return how long [s] until it is ready again."""
    time.sleep(_SETTLING_S)
    worker = next(
        child.pid
        for child in psutil.Process(up.pid).children()
        if child.cmdline()[-2:] == ["stack.cli", "worker"]
    )
    began = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    back = re.compile(r"worker is ready again")
    wait_until(
        lambda: back.search(up.log_file.read_text("utf-8", "replace")) is not None,
        "the worker being ready again",
        timeout_s=_TIMEOUT_S,
    )
    return time.monotonic() - began


def _at_rest(up: Child, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    """Return cores used and memory [MB] by part, over ``seconds`` in which nothing comes in."""
    time.sleep(_SETTLING_S)
    before, since = cpu_seconds_by_part(up.pid), time.monotonic()
    time.sleep(seconds)
    after, took_s = cpu_seconds_by_part(up.pid), time.monotonic() - since
    cores = {part: (after[part] - before.get(part, 0.0)) / took_s for part in after}
    return cores, memory_mb_by_part(up.pid)
