"""What a process has used, from /proc: CPU seconds and peak resident memory."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

__all__ = [
    "busy_cores",
    "cpu_seconds",
    "cpu_seconds_by_part",
    "memory_mb_by_part",
    "peak_mb",
    "reset_peak",
]

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return user + system CPU seconds of the process's threads, living and ended."""
    # Fields 14 and 15 of proc(5) stat, counted after the name, which may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_seconds_by_part(pid: int) -> dict[str, float]:
    """Return name -> CPU seconds of a process's children, each with its own descendants.

    A part of ours goes by its sub-command, a server by its program.
    """
    used: dict[str, float] = {}
    for name, family in _families(pid):
        # Of those that have ended, the parent keeps the sum.
        ended = sum(t.children_user + t.children_system for t in (p.cpu_times() for p in family))
        used[name] = sum(cpu_seconds(p.pid) for p in family) + ended
    return used


def memory_mb_by_part(pid: int) -> dict[str, float]:
    """Return name -> proportional set size [MB of 10^6 bytes] of a process's children."""
    return {
        name: sum(p.memory_full_info().pss for p in family) / 1e6 for name, family in _families(pid)
    }


def _families(pid: int) -> Iterator[tuple[str, list[psutil.Process]]]:
    for child in psutil.Process(pid).children():
        words = child.cmdline()
        if "stack.cli" in words:
            name = words[words.index("stack.cli") + 1]
        else:
            name = "kafka" if "kafka.Kafka" in words else child.name().split("-")[0]
        yield name, [child, *child.children(recursive=True)]


def busy_cores(during_s: float = 1.0) -> float:
    """Return how many of the machine's cores are busy now, whoever uses them."""
    before, since = psutil.cpu_times(), time.monotonic()
    time.sleep(during_s)
    now, took_s = psutil.cpu_times(), time.monotonic() - since
    idle_s = now.idle - before.idle + now.iowait - before.iowait
    return max(0.0, (psutil.cpu_count() or 1) - idle_s / took_s)


def peak_mb(pid: int) -> float:
    """Return the high-water mark of resident memory (VmHWM) [MB of 10^6 bytes]."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise ProcessLookupError(f"process {pid} has no memory any more; it has ended")
    return int(found[1]) * 1024 / 1e6


def reset_peak(pid: int) -> None:
    """Let the high-water mark start again from what is resident now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")
