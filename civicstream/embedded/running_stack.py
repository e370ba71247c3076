"""Finds the stack that `civicstream up` runs in this folder, for the commands beside it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from civicstream.embedded.data_folder import CONNECTION_FILE, DATA_FOLDER, running_process
from civicstream.settings import ENV_PREFIX, Settings, load_settings

__all__ = ["find_settings_file", "load_command_settings"]

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


def find_settings_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the settings file of the stack that runs in this folder; None without one.

    None also when the environment names a settings file or a server: half of one stack and half
    of another would be neither.
    """
    if environ.get("CIVICSTREAM_CONFIG") or any(name.startswith(_SERVERS) for name in environ):
        return None
    file = DATA_FOLDER / CONNECTION_FILE
    return file if running_process(DATA_FOLDER) is not None and os.access(file, os.R_OK) else None
