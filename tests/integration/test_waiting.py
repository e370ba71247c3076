"""Whoever waits for servers that are away says so once, and ends at once when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from civicstream.settings import ENV_PREFIX, KafkaSettings
from stack.servers.processes import Child, free_port, wait_until

LISTEN_S = 6.0
"""So long the lines are counted; attempts come many times meanwhile."""
ENDS_WITHIN_S = 6.0
"""An attempt to connect that is under way takes two seconds, longer on a busy machine."""

SERVICES = ("gateway", "worker", "sink", "feeds", "alerts", "deliver")
COMMANDS = (("tail", "frames.noise"),)
SHORT = (("ledger",), ("health", "sink", "--timeout", "60"))


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment whose servers are not there."""
    receivers = tmp_path / "receivers.toml"
    receivers.write_text('[[receiver]]\nname = "broker"\ntype = "mqtt"\n')
    chosen = {
        "KAFKA__BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "DATABASE__URL": f"postgresql://nobody:secret@127.0.0.1:{free_port()}/none",
        "MQTT__PORT": str(free_port()),
        "FEEDS__PORT": str(free_port()),
        "WORKER__DATA_DIR": str(tmp_path / "worker"),
        "DELIVER__RECEIVERS_FILE": str(receivers),
    }
    known = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    return known | {ENV_PREFIX + k: v for k, v in chosen.items()} | {"PYTHONUNBUFFERED": "1"}


@pytest.fixture
def waiting(
    request: pytest.FixtureRequest, nowhere: dict[str, str], tmp_path: Path
) -> Iterator[Child]:
    """The command of the parameter, once it says what it waits for."""
    command = [sys.executable, "-m", "stack.cli", *request.param]
    number = signal.SIGINT if request.param[0] == "tail" else signal.SIGTERM
    child = Child("waiting", command, tmp_path / "log", nowhere, stop_signal=number)
    try:
        wait_until(lambda: "waiting" in child.last_words(), "it waits", timeout_s=60)
        yield child
    finally:
        child.kill()


@pytest.mark.parametrize(
    "waiting", [*((name,) for name in SERVICES), *COMMANDS], indirect=True, ids=lambda c: c[0]
)
def test_it_says_what_it_waits_for_once_and_ends_at_once(waiting: Child) -> None:
    time.sleep(LISTEN_S)  # lines that should not come cannot be waited for
    lines = waiting.last_words(1000).splitlines()
    assert waiting.alive()
    assert len([line for line in lines if "waiting" in line]) <= 2, lines
    assert len(lines) <= 8, lines  # the feeds have two readers, who each say so
    began = time.monotonic()
    assert waiting.stop(timeout_s=30) == 0, waiting.last_words()
    assert time.monotonic() - began < ENDS_WITHIN_S


def test_a_worker_without_topics_waits_for_them_and_ends_at_once(
    kafka: KafkaSettings, nowhere: dict[str, str], tmp_path: Path
) -> None:
    environment = nowhere | {
        f"{ENV_PREFIX}KAFKA__BOOTSTRAP": kafka.bootstrap,
        f"{ENV_PREFIX}KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
    }
    command = [sys.executable, "-m", "stack.cli", "worker"]
    child = Child("worker", command, tmp_path / "log", environment)
    try:
        wait_until(lambda: "waiting for the topics" in child.last_words(), "it waits", timeout_s=60)
        assert "run `civicstream init`" in child.last_words()
        began = time.monotonic()
        assert child.stop(timeout_s=30) == 0, child.last_words()
        assert time.monotonic() - began < ENDS_WITHIN_S
    finally:
        child.kill()


@pytest.mark.parametrize("command", SHORT, ids=lambda c: c[0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_waits_for_an_answer_ends_at_once(
    nowhere: dict[str, str], command: tuple[str, ...], number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "stack.cli", *command],
        env=nowhere,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr as said:
        assert "waiting for Kafka" in said.readline()
        began = time.monotonic()
        process.send_signal(number)
        rest = said.read()
        assert process.wait(30) != 0
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert "Traceback" not in rest
