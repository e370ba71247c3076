"""The embedded Kafka's jars: pinned, whole or not used, and a clear word when offline."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from civicstream.errors import ConfigurationError, ServerUnavailable
from stack.servers.kafka_jars import Jar, fetch_jars, kafka_version, pinned_jars

CONTENT = b"classes"
JAR = Jar("org.example.city", "broker", "4.0", hashlib.sha256(CONTENT).hexdigest())


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        pass


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A Maven repository of our own on loopback: its folder, and its address by name."""
    folder = tmp_path / "repository"
    (folder / JAR.path).parent.mkdir(parents=True)
    (folder / JAR.path).write_bytes(CONTENT)
    handler = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, {"ours": f"http://127.0.0.1:{server.server_port}"}
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_pinned_jar_has_coordinates_and_a_checksum() -> None:
    jars = pinned_jars()
    assert len({(jar.group, jar.artifact) for jar in jars}) == len(jars) > 40
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert kafka_version().startswith("4.")


def test_jars_are_fetched_once_and_progress_is_said(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, ours = repository
    seen: list[tuple[int, int]] = []
    cache = tmp_path / "cache"
    options = {"repositories": ours, "progress": lambda done, of: seen.append((done, of))}
    assert fetch_jars([JAR], cache, **options) == [cache / JAR.path]  # type: ignore[arg-type]
    assert (cache / JAR.path).read_bytes() == CONTENT
    assert seen == [(0, 1), (1, 1)]
    (folder / JAR.path).unlink()
    fetch_jars([JAR], cache, **options)  # type: ignore[arg-type]
    assert len(seen) == 2


def test_a_jar_that_broke_in_the_cache_is_fetched_again(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    (cache / JAR.path).parent.mkdir(parents=True)
    (cache / JAR.path).write_bytes(CONTENT[:3])
    fetch_jars([JAR], cache, repositories=repository[1])
    assert (cache / JAR.path).read_bytes() == CONTENT


def test_another_file_than_the_pinned_one_is_refused_and_not_kept(
    repository: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, ours = repository
    (folder / JAR.path).write_bytes(b"something else")
    with pytest.raises(ConfigurationError, match=r"broker-4.0.jar .* is not the pinned file"):
        fetch_jars([JAR], tmp_path / "cache", repositories=ours)
    assert not (tmp_path / "cache" / JAR.path).exists()


def test_offline_the_jar_the_folder_and_the_ways_out_are_named(tmp_path: Path) -> None:
    nowhere = {"nowhere": "http://127.0.0.1:1"}
    with pytest.raises(ServerUnavailable, match=r"broker-4.0.jar.*copy .*cache.*--kafka"):
        fetch_jars([JAR], tmp_path / "cache", repositories=nowhere)
