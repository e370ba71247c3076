"""Finds the stack that `civicstream up` runs in this folder, for the commands beside it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from civicstream.settings import ENV_PREFIX, Settings, load_settings
from stack.data_folder import (
    CONNECTION_FILE,
    DATA_FOLDER,
    has_been_used,
    running_process,
)

__all__ = ["find_settings_file", "load_command_settings", "stopped_stack"]

_SERVERS = tuple(f"{ENV_PREFIX}{section}__" for section in ("MQTT", "KAFKA", "DATABASE"))


def load_command_settings(config: Path | None, command: str) -> Settings:
    """Return the settings of a command for people.

    When nobody says where the servers are, they are those of the stack that runs in this folder;
    standard error says so.
    """
    found = None if config else find_settings_file()
    if found is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"civicstream {command}: of the running stack, {found}\n")
    return load_settings(config or found)


def stopped_stack(config: Path | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return what to say of a stack that ran in this folder and does not now; None without one.

    None also when somebody says where the servers are.
    """
    if config or _chosen(environ) or running_process(DATA_FOLDER) is not None:
        return None
    if not has_been_used(DATA_FOLDER):
        return None
    return (
        f"the stack of {DATA_FOLDER}/ has been stopped, so nothing can be looked up; what it took "
        "in and did not store yet is kept there, in flight: `civicstream up` goes on with it, then "
        f"ask again (of other servers: set {ENV_PREFIX}KAFKA__BOOTSTRAP and "
        f"{ENV_PREFIX}DATABASE__URL)"
    )


def _chosen(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a settings file or a server."""
    return bool(environ.get("CIVICSTREAM_CONFIG")) or any(n.startswith(_SERVERS) for n in environ)


def find_settings_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the settings file of the stack that runs in this folder; None without one.

    None also when the environment names a settings file or a server: half of one stack and half
    of another would be neither.
    """
    if _chosen(environ):
        return None
    file = DATA_FOLDER / CONNECTION_FILE
    return file if running_process(DATA_FOLDER) is not None and os.access(file, os.R_OK) else None
