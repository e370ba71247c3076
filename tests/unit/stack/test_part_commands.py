"""Parts declare their commands; the command line imports a part only when its command runs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from stack.cli import app, command_tree
from stack.part_commands import PART_COMMANDS

PARTS = {"ingest", "streams", "alerts", "sinks", "feeds", "sensors_sim", "benchmarks"}


@pytest.mark.parametrize("name", sorted(PART_COMMANDS))
def test_a_part_s_command_has_its_help(name: str) -> None:
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert f"{name} [OPTIONS]" in done.stdout


def test_the_help_lists_the_commands_of_the_roof_and_of_the_parts() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    names = set(command_tree().commands)
    assert {"up", "gateway", "bench"} | set(PART_COMMANDS) <= names
    assert all(name in shown for name in names)


def test_a_command_that_no_part_has_is_refused() -> None:
    assert CliRunner().invoke(app, ["simulat"]).exit_code == 2


def test_the_command_line_alone_imports_no_part() -> None:
    script = "import sys, stack.cli; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "stack" in done.stdout.split()
    assert not PARTS & set(done.stdout.split())
