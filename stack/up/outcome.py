"""What a replay came to: what was sent, and whether all of it arrived."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from civicstream.errors import ServerUnavailable
from stack.data_folder import DataFolder

__all__ = ["replay_outcome"]

_SETTLED_WITHIN_S = 60


def replay_outcome(folder: DataFolder) -> list[str]:
    """Return the replay's counts and the ledger's balance as lines for people.

    Raise ServerUnavailable with them when the ledger does not balance.
    """
    return [*_counts(folder.truth / "counts.json"), *_balance(folder.connection_file)]


def _counts(file: Path) -> list[str]:
    counts = json.loads(file.read_text(encoding="utf-8"))
    line = (
        f"replay    {counts['read']:,} readings read, {counts['published']:,} sent, "
        f"{counts['acked']:,} acknowledged; {counts['repeats']:,} were recorded more than once, "
        f"{counts['gaps']:,} are missing in the recording"
    )
    return [line]


def _balance(settings: Path) -> list[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "stack.cli",
            "ledger",
            "--rows",
            "--wait",
            str(_SETTLED_WITHIN_S),
            "--config",
            str(settings),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * _SETTLED_WITHIN_S,
    )
    lines = done.stdout.rstrip().splitlines()
    if done.returncode:
        raise ServerUnavailable("\n".join([*lines, done.stderr.strip()]))
    return lines
