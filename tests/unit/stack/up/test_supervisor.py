"""The supervisor with tiny real processes as parts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from civicstream.errors import ConfigurationError, ServerUnavailable
from stack.servers.processes import Child, wait_until
from stack.up.restart_policy import Backoff
from stack.up.supervisor import Part, PartState, Supervisor

_SLEEP = "import time; time.sleep(600)"
_STUBBORN = (
    "import signal, time, pathlib, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
)


class Bench:
    """A supervisor, what it told, and the processes it launched by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[str] = []
        self.launched: list[str] = []

    def part(self, name: str, code: str = _SLEEP, **options: object) -> Part:
        def launch() -> Child:
            self.launched.append(name)
            return Child(name, [sys.executable, "-c", code], self.folder / f"{name}.log")

        return replace(Part(name, launch), **options)  # type: ignore[arg-type]

    def supervisor(self, *parts: Part) -> Supervisor:
        backoff = Backoff(first_s=0.05, longest_s=0.2)
        return Supervisor(parts, log=self.told.append, backoff=backoff)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _tick_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    def ticked() -> bool:
        supervisor.tick()
        return condition()

    wait_until(ticked, "the supervisor getting there", timeout_s=20, every_s=0.01)


def test_a_part_starts_only_when_those_before_it_are_ready(bench: Bench) -> None:
    open_gate = False
    supervisor = bench.supervisor(
        bench.part("server", ready=lambda _: open_gate),
        bench.part("task", "pass", once=True, after=("server",)),
        bench.part("service", after=("task",)),
    )
    _tick_until(supervisor, lambda: bench.launched == ["server"])
    for _ in range(5):
        supervisor.tick()
    assert bench.launched == ["server"]
    open_gate = True
    _tick_until(supervisor, supervisor.all_ready)
    assert bench.launched == ["server", "task", "service"]
    supervisor.stop()


def test_a_killed_part_comes_back_and_it_is_said(bench: Bench) -> None:
    supervisor = bench.supervisor(bench.part("worker"))
    _tick_until(supervisor, supervisor.all_ready)
    first = supervisor.parts["worker"].child
    assert first is not None
    first.kill()
    _tick_until(supervisor, lambda: len(bench.launched) == 2 and supervisor.all_ready())
    second = supervisor.parts["worker"].child
    assert second is not None
    assert second.pid != first.pid
    assert supervisor.parts["worker"].record.restarts == 1
    assert any("worker ended with code -9; starting it again" in t for t in bench.told)
    assert any("worker is ready again" in t for t in bench.told)
    supervisor.stop()


def test_a_part_that_does_nothing_and_never_gets_ready_is_killed_and_started_again(
    bench: Bench,
) -> None:
    supervisor = bench.supervisor(bench.part("deaf", ready=lambda _: False, stalled_s=0.5))
    _tick_until(supervisor, lambda: len(bench.launched) == 3)
    assert any("was not ready and did nothing for 0.5 s" in t for t in bench.told)
    supervisor.stop()


def test_a_slow_start_that_works_is_left_alone(bench: Bench) -> None:
    gate = bench.folder / "open"
    busy = (
        "import time, pathlib; end = time.monotonic() + 2\n"
        f"while time.monotonic() < end: pass\npathlib.Path({str(gate)!r}).touch(); time.sleep(600)"
    )
    supervisor = bench.supervisor(
        bench.part("slow", busy, ready=lambda _: gate.exists(), stalled_s=0.4)
    )
    _tick_until(supervisor, supervisor.all_ready)
    assert bench.launched == ["slow"]
    supervisor.stop()


def test_a_part_that_dies_again_and_again_after_it_was_ready_is_named_with_its_last_lines(
    bench: Bench,
) -> None:
    supervisor = bench.supervisor(bench.part("sink", "print('disk is full'); raise SystemExit(1)"))
    _tick_until(supervisor, lambda: len(bench.launched) == 7)
    said = [t for t in bench.told if "5 times in a row" in t]
    assert len(said) == 1
    assert "disk is full" in said[0]
    supervisor.stop()


def test_a_part_with_wrong_settings_stops_the_stack_with_its_last_words(bench: Bench) -> None:
    code = "import sys; print('civicstream: port 7 is odd'); sys.exit(2)"
    supervisor = bench.supervisor(bench.part("gateway", code, ready=lambda _: False))
    with pytest.raises(ConfigurationError, match="port 7 is odd"):
        _tick_until(supervisor, supervisor.all_ready)
    supervisor.stop()


def test_a_part_that_dies_again_and_again_before_it_was_ready_stops_the_stack(
    bench: Bench,
) -> None:
    supervisor = bench.supervisor(
        bench.part("gateway", "raise SystemExit(1)", ready=lambda _: False)
    )
    with pytest.raises(ServerUnavailable, match="5 times in a row"):
        _tick_until(supervisor, supervisor.all_ready)
    assert len(bench.launched) == 5
    supervisor.stop()


def test_stopping_goes_backwards_and_waits_until_a_part_is_drained(bench: Bench) -> None:
    order: list[str] = []

    def drained(name: str) -> Callable[[int], bool]:
        calls = iter((False, False, True))

        def ask(_asked_ms: int) -> bool:
            order.append(name)
            return next(calls)

        return ask

    supervisor = bench.supervisor(
        bench.part("sink", drained=drained("sink")),
        bench.part("gateway", drained=drained("gateway")),
    )
    _tick_until(supervisor, supervisor.all_ready)
    supervisor.stop()
    assert order == ["gateway"] * 3 + ["sink"] * 3
    assert all(s.state is PartState.STOPPED for s in supervisor.parts.values())


def test_a_part_that_stays_busy_is_stopped_all_the_same(bench: Bench) -> None:
    supervisor = bench.supervisor(bench.part("sink", drained=lambda _: False, drain_s=0.2))
    _tick_until(supervisor, supervisor.all_ready)
    supervisor.stop()
    child = supervisor.parts["sink"].child
    assert child is not None
    assert not child.alive()
    assert "sink was still busy after 0.2 s" in bench.told


def test_waiting_for_a_part_that_does_not_exist_is_an_error(bench: Bench) -> None:
    with pytest.raises(ConfigurationError, match="which is no part"):
        bench.supervisor(bench.part("gateway", after=("mqqt",)))


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import sys, time; from pathlib import Path;"
        "from stack.servers.processes import Child;"
        f"c = Child('c', [sys.executable, '-c', {_SLEEP!r}], Path({str(tmp_path / 'log')!r}));"
        f"Path({str(pid_file)!r}).write_text(str(c.pid)); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()), "child", timeout_s=20)
    child = psutil.Process(int(pid_file.read_text()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    child.wait(10)
    assert not child.is_running()


def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = Child("c", [sys.executable, "-c", _STUBBORN, ready], tmp_path / "log")
    wait_until(ready.exists, "it ignores SIGTERM", timeout_s=20)
    before = time.monotonic()
    assert child.stop(timeout_s=0.3) == -signal.SIGKILL
    assert time.monotonic() - before >= 0.3
