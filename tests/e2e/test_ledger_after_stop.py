"""Ctrl-C while readings wait on Kafka: `ledger` says where they are, the next `up` stores them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from civicstream.kinds import KINDS
from civicstream.settings import ENV_PREFIX
from stack.servers.processes import wait_until
from tests.e2e.test_up import Up, up

__all__ = ["up"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def _ledger(stack: Up, wait_s: float = 0) -> tuple[int, dict[str, Any], str]:
    """Return exit code, balance and standard error of `civicstream ledger` beside the data."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "ledger", "--json", "--wait", str(wait_s)],
        cwd=stack.data.parent,
        env=known,
        capture_output=True,
        text=True,
        timeout=wait_s + 90,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def _lost(found: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in found["problems"]]


def test_what_waits_when_ctrl_c_comes_is_in_flight_and_arrives_after_the_next_up(
    up: Callable[..., Up],
) -> None:
    stack = up("--sensors", "200", "--rate", "100")
    stack.wait_for("simulator is ready")
    stack.wait_for_growth()
    for part in ("sink", "worker"):
        pid = stack.pid_of(part)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    behind: list[dict[str, Any]] = []

    def many_wait() -> bool:
        code, found, words = _ledger(stack)
        assert code == 0, (found, words)
        behind.append(found)
        return bool(min(found["waiting_records"], found["waiting_elsewhere"]) > 50)

    wait_until(many_wait, "a backlog", timeout_s=90, every_s=1.0)
    assert behind[-1]["in_flight"] > 0
    worker = [r for r in behind[-1]["records"] if r["stage"] == "worker"]
    assert sum(r["counts"]["in_flight"] for r in worker) > 0
    # Those who do not run are waited for, and killed in the end.
    assert stack.end(signal.SIGINT, timeout_s=150) == 0
    assert stack.nothing_left()

    code, _, words = _ledger(stack)
    assert code == 3
    assert "has been stopped" in words
    assert "civicstream up" in words

    again = up("--no-simulator")
    again.wait_for("logs      ")
    code, found, words = _ledger(again, wait_s=120)
    assert (code, _lost(found)) == (0, []), words
    waiting = found["in_flight"], found["waiting_records"], found["waiting_elsewhere"]
    assert waiting == (0, 0, 0)
    counted = {kind["kind"]: kind for kind in found["kinds"] if kind["kind"] in KINDS}
    assert sum(k["sink"]["accepted"] for k in counted.values()) > 0
    for name, kind in counted.items():
        assert kind["sink"]["received"] == kind["gateway"]["accepted"], name
    for r in found["records"]:
        counts = r["counts"]
        total = counts["accepted"] + counts["rejected"] + counts["in_flight"]
        assert (total, r["lost"]) == (counts["received"], 0), r
    assert again.end(signal.SIGINT) == 0
    assert again.nothing_left()
