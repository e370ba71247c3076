"""The README's commands, run as they stand there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from civicstream.settings import KafkaSettings, MqttSettings
from stack.servers.processes import free_port, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A make that runs the tests hands its level and its arguments on to every make below it.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("MAKE") and name not in {"MFLAGS", "ARGS"}
}
# The usual port may be another test's.
ENVIRONMENT["CIVICSTREAM_FEEDS__PORT"] = str(free_port())
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _block(start: str) -> str:
    """Return the README's one shell block that begins so."""
    (found,) = (block for block in BLOCKS if block.startswith(start))
    return found


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A folder that looks like a checkout with everything installed, and has its own data."""
    with tempfile.TemporaryDirectory(prefix="civicstream-") as name:
        folder = Path(name)
        for entry in ROOT.iterdir():
            if entry.name not in {"data", ".venv", ".git"}:
                (folder / entry.name).symlink_to(entry)
        (folder / ".venv" / "bin").mkdir(parents=True)
        for program in ("civicstream", "python"):
            (folder / ".venv" / "bin" / program).symlink_to(Path(sys.executable).with_name(program))
        (folder / ".venv" / ".installed").touch()
        yield folder


def _make(*arguments: str) -> list[str]:
    # -o: what is installed already is not installed again
    return ["make", "-o", ".venv/.installed", "-o", ".venv/.installed-test", *arguments]


@contextlib.contextmanager
def _running(command: list[str], folder: Path) -> Iterator[Path]:
    """Run a command as from a terminal, interrupt it at the end of the block; yield its output."""
    output = folder / "output.txt"
    with output.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=ENVIRONMENT,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield output
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
        process.wait(90)


def _wait_for(text: str, output: Path, timeout_s: float = 90) -> None:
    wait_until(
        lambda: text in output.read_text(), f"{text!r}\n{output.read_text()}", timeout_s=timeout_s
    )


def _shell(block: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=ENVIRONMENT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_beside_make_up_show_readings_results_and_a_balance(checkout: Path) -> None:
    if shutil.which("psql") is None:
        pytest.skip("psql is not installed")
    assert _block("make up\n") == "make up\n"
    with _running(_make("up"), checkout) as output:
        _wait_for("simulator is ready", output)
        shown = _shell(_block(".venv/bin/civicstream tail frames"), checkout)
        (address,) = re.findall(r"^open +(\S+)$", output.read_text(), re.MULTILINE)
        page = httpx.get(address)
    assert shown.count('"kind":"noise"') == 2
    assert '"segments":[' in shown
    assert "no loss found" in shown
    assert "level_of_service" in shown
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "everything has stopped" in output.read_text()


def test_options_reach_up_through_make(checkout: Path) -> None:
    block = _block("make up ARGS=")
    (arguments,) = re.findall(r'ARGS="(.*)"', block)
    printed = _shell(block.replace("make up", " ".join(_make("--dry-run", "up"))), checkout)
    assert printed.strip() == f".venv/bin/civicstream up {arguments}"
    options = subprocess.run(
        [sys.executable, "-m", "stack.cli", "up", "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    text = README.split("## Commands", maxsplit=1)[0]
    for option in re.findall(r"(?<![-\w])--[a-z][a-z-]+", text):
        assert option in options or option == "--limit", option


def test_up_with_your_own_servers(
    checkout: Path, mosquitto: MqttSettings, kafka: KafkaSettings, postgres: str
) -> None:
    at = psycopg.conninfo.conninfo_to_dict(postgres)
    url = f"postgresql://{at['user']}@/{at['dbname']}?host={at['host']}"
    command = (
        _block(".venv/bin/civicstream up --no-simulator")
        .replace("mqtt.example.org:1883", f"127.0.0.1:{mosquitto.port}")
        .replace("kafka.example.org:9092", kafka.bootstrap)
        .replace("postgresql://owner:secret@db.example.org/civicstream", f"'{url}'")
    )
    assert "example.org" not in command
    shown = _shell(f"{command.rstrip()} --duration 1", checkout)
    assert "open      http://127.0.0.1:" in shown
    assert "everything has stopped" in shown


def test_make_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"\bmake ([a-z]+)", "".join(BLOCKS)))
    assert targets == {"up", "test", "check", "bench"}
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


def test_no_shell_block_goes_untested() -> None:
    starts = ("make up\n", ".venv/bin/civicstream tail", "make up ARGS", ".venv/bin/civicstream up")
    rest = [block for block in BLOCKS if not block.startswith(starts)]
    assert rest == ["make test-unit\nmake test\nmake check\nmake bench\n"]
