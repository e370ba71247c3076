"""A bench that is stopped or killed leaves no server behind."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from stack.servers.processes import Child, wait_until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_bench_that_gets(number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stack.cli", "bench", "memory", "--readings", "50000"]
    # What a killed bench cannot delete is then pytest's to delete.
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    bench = Child("bench", [*command, "--seconds", "20"], tmp_path / "bench.log", environment)
    me = psutil.Process(bench.pid)
    seen: set[psutil.Process] = set()

    def broker_and_worker_run() -> bool:
        seen.update(me.children(recursive=True))
        return len([p for p in seen if p.is_running()]) >= 2

    try:
        bench.wait_ready(broker_and_worker_run, timeout_s=60)
        me.send_signal(number)
        wait_until(lambda: not bench.alive(), "the bench's end", timeout_s=60)
        wait_until(lambda: not any(p.is_running() for p in seen), "its servers' end", timeout_s=30)
    finally:
        bench.kill()
