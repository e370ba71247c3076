"""Benches are run from a checkout; where there is none, the command says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from civicstream.errors import ConfigurationError
from stack.benches import find_benches

ROOT = Path(__file__).parents[3]


def test_without_a_checkout_the_command_says_where_benches_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="run `make bench`"):
        find_benches(tmp_path)


def test_from_any_folder_the_benches_of_the_checkout_are_found(tmp_path: Path) -> None:
    script = (
        "from stack.benches import find_benches; find_benches()\n"
        "import os, benchmarks.registry; print(os.environ['PYTHONPATH'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(ROOT)
