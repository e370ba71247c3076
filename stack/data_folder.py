"""The folder of an embedded stack: locked to one run, kept between runs, wiped on demand."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from civicstream.errors import ConfigurationError

__all__ = [
    "CONNECTION_FILE",
    "DATA_FOLDER",
    "DataFolder",
    "has_been_used",
    "running_process",
    "sync_folder",
    "write_private",
]

DATA_FOLDER = Path("data")
"""Of a stack that is given none: in the current folder."""
CONNECTION_FILE = "civicstream.toml"

_LOCK = "civicstream.lock"


class DataFolder:
    """``path`` with the database, logs, secrets and city of one stack; a context manager.

    The lock file marks the folder as ours; it holds the process id of the run that has it.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path.resolve()
        self._fresh = fresh
        self._lock: int | None = None

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def truth(self) -> Path:
        """What the simulator says happened; only of a simulated city."""
        return self.path / "truth"

    @property
    def connection_file(self) -> Path:
        """Settings with which other commands reach this stack: ``civicstream tail -c FILE``."""
        return self.path / CONNECTION_FILE

    @property
    def reader_url_file(self) -> Path:
        """Address of the database for reading: ``psql "$(cat FILE)"``."""
        return self.path / "database.url"

    def __enter__(self) -> DataFolder:
        try:
            ours = (self.path / _LOCK).exists()
            if self._fresh and not ours and self.path.exists() and any(self.path.iterdir()):
                raise ConfigurationError(
                    f"--fresh would wipe {self.path}, which no `civicstream up` has made; "
                    "empty it yourself, or give another --data folder"
                )
            # Root's PostgreSQL runs as another user, which must pass through.
            mode = 0o711 if os.geteuid() == 0 else 0o700
            self.path.mkdir(parents=True, exist_ok=True, mode=mode)
            self._take_lock()
            if self._fresh:
                self._wipe()
            self._keep_last_logs()
        except OSError as error:
            self._release()
            raise ConfigurationError(
                f"data folder {self.path}: {error.strerror}; give another with --data"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self.connection_file.unlink(missing_ok=True)
        self._release()

    def _take_lock(self) -> None:
        self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock, 20).decode().strip() or "unknown"
            self._release()
            raise ConfigurationError(
                f"another `civicstream up` (process {owner}) uses {self.path}; stop it, or give "
                "this one its own folder with --data"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _wipe(self) -> None:
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != _LOCK:
                entry.unlink()

    def _keep_last_logs(self) -> None:
        """Start with empty logs; those of the last run stay beside them."""
        previous = self.path / "logs.previous"
        if self.logs.exists():
            shutil.rmtree(previous, ignore_errors=True)
            self.logs.rename(previous)
        self.logs.mkdir()

    def keep_city(self, asked: Path | None) -> Path | None:
        """Return the city that this folder's readings belong to: the first one asked for.

        Raise ConfigurationError when another is asked for now.
        """
        record = self.path / "city.json"
        kept = Path(json.loads(record.read_text("utf-8"))) if record.exists() else None
        if kept is None and asked is not None:
            write_private(record, json.dumps(str(asked)))
        if kept and asked and kept != asked:
            raise ConfigurationError(
                f"the readings in {self.path}, on Kafka and in the database, belong to the city "
                f"{kept.name}, and {asked.name} is asked for, "
                "whose sensors and segments are others; give the same options as before, --fresh "
                "to begin anew, or another --data"
            )
        return kept or asked

    def secret(self, name: str, *, random_bytes: int = 24) -> str:
        """Return the stack's own secret of that name, made at random the first time: base64url."""
        folder = self.path / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / name
        if not file.exists():
            write_private(file, secrets.token_urlsafe(random_bytes))
        return file.read_text(encoding="utf-8")

    def write_receivers(self, text: str) -> Path:
        """Write the receivers of alerts, unless somebody did so before; return the file."""
        file = self.path / "receivers.toml"
        if not file.exists():
            write_private(file, text)
        return file

    def write_connection_file(self, sections: Mapping[str, Mapping[str, object]]) -> None:
        """Write the settings file (TOML), for our own user only: it holds passwords."""
        lines = ["# Written by `civicstream up` for as long as it runs."]
        for section, values in sections.items():
            lines.append(f"[{section}]")
            # JSON strings, numbers and booleans are TOML's too.
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        write_private(self.connection_file, "\n".join(lines) + "\n")


def has_been_used(folder: Path) -> bool:
    """Return whether a `civicstream up` has made the folder its own."""
    return (folder / _LOCK).exists()


def running_process(folder: Path) -> int | None:
    """Return the id of the `civicstream up` that uses ``folder``; None while nobody does.

    The lock is tried only where that process lives, so that one that starts finds it free.
    """
    try:
        process = int((folder / _LOCK).read_text())
        os.kill(process, 0)
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return process
    except (OSError, ValueError):
        return None
    return None  # another process has got its number since


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, and return when it is on the disk.

    Who reads it meanwhile, or after a power cut, gets the old one.
    """
    new = file.with_name(f".{file.name}.new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in it are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
