"""Ctrl-C while readings wait on Kafka: nothing is lost, and the ledger says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from civicstream.embedded.processes import wait_until
from tests.e2e.test_up import Up, _published, _rows_at_rest, up

__all__ = ["up"]

pytestmark = [pytest.mark.slow, pytest.mark.fault]

_QUIET = ("--no-simulator",)


def ledger(data: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run `civicstream ledger --json`; return its exit code and what it found."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "civicstream.cli", "ledger", "--json"),
            *("-c", data / "civicstream.toml", *options),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_ctrl_c_with_a_backlog_loses_nothing_and_the_ledger_tells_the_truth(
    up: Callable[..., Up],
) -> None:
    stack = up("--sensors", "200", "--rate", "200")
    stack.wait_for("simulator is ready")
    stack.wait_for_growth()
    sink = stack.pid_of("sink")
    assert sink is not None
    os.kill(sink, signal.SIGSTOP)

    def backlog() -> bool:
        _, found = ledger(stack.data, "--wait", "0")
        return found["waiting_records"] > 50 and found["in_flight"] > 500

    wait_until(backlog, "a backlog", timeout_s=60, every_s=1)
    code, found = ledger(stack.data, "--wait", "0")
    assert (code, found["problems"]) == (0, []), "what waits is not lost"
    assert stack.end(signal.SIGINT) == 0
    assert stack.nothing_left()
    published = _published(stack.data)

    again = up(*_QUIET)
    connection = again.data / "civicstream.toml"
    wait_until(connection.exists, "the stack to be ready", timeout_s=120, every_s=0.5)
    code, found = ledger(again.data, "--wait", "90", "--rows")
    assert (code, found["problems"]) == (0, [])
    assert (found["in_flight"], found["waiting_records"]) == (0, 0)
    readings = [k for k in found["kinds"] if k["rows"]]
    assert sum(k["gateway"]["accepted"] for k in readings) == published
    assert sum(k["rows"] for k in readings) == published
    assert again.end(signal.SIGINT) == 0
    assert again.nothing_left()
    assert _rows_at_rest(again.data) == published
