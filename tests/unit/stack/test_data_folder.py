"""The folder of an embedded stack: one run at a time, wiped only when it is ours."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest

from civicstream.errors import ConfigurationError
from stack.data_folder import DataFolder


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    message = f"process {os.getpid()}.*--data"
    with DataFolder(tmp_path / "data"), pytest.raises(ConfigurationError, match=message):
        DataFolder(tmp_path / "data").__enter__()
    with DataFolder(tmp_path / "data"):
        pass


def test_the_database_stays_between_runs_and_fresh_wipes_it(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data") as folder:
        (folder.path / "database").mkdir()
        (folder.path / "database" / "rows").write_text("1")
        secret = folder.secret("writer")
    with DataFolder(tmp_path / "data") as folder:
        assert (folder.path / "database" / "rows").exists()
        assert folder.secret("writer") == secret
    with DataFolder(tmp_path / "data", fresh=True) as folder:
        assert not (folder.path / "database").exists()
        assert folder.secret("writer") != secret


def test_fresh_never_wipes_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigurationError, match="which no `civicstream up` has made"):
        DataFolder(tmp_path, fresh=True).__enter__()
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file/data: Not a directory.*--data"):
        DataFolder(tmp_path / "file" / "data").__enter__()


def test_logs_of_the_last_run_are_kept_aside(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        (folder.logs / "gateway.log").write_text("first run")
    with DataFolder(tmp_path) as folder:
        assert not list(folder.logs.iterdir())
        assert (tmp_path / "logs.previous" / "gateway.log").read_text() == "first run"


def test_the_connection_file_is_private_and_ends_with_the_run(tmp_path: Path) -> None:
    sections = {"mqtt": {"host": 'a"b', "port": 1883, "tls": False}, "database": {"url": "x\\y"}}
    with DataFolder(tmp_path) as folder:
        folder.write_connection_file(sections)
        file = folder.connection_file
        assert tomllib.loads(file.read_text()) == sections
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.exists()


def test_a_folder_keeps_the_city_of_its_readings_until_it_is_made_afresh(tmp_path: Path) -> None:
    first, other = tmp_path / "bologna.geojson", tmp_path / "aarhus.geojson"
    data = tmp_path / "data"
    with DataFolder(data) as folder:
        assert folder.keep_city(None) is None
        assert folder.keep_city(first) == first
    with DataFolder(data) as folder:
        assert folder.keep_city(None) == first  # e.g. with --no-simulator this time
        assert folder.keep_city(first) == first
        with pytest.raises(ConfigurationError, match=r"bologna.*aarhus.*--fresh"):
            folder.keep_city(other)
    with DataFolder(data, fresh=True) as folder:
        assert folder.keep_city(other) == other
