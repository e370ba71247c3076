"""Commands beside a running stack find its settings; nobody else's get in the way."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from civicstream.clock import REAL, Clock, wall_ms
from stack.data_folder import DataFolder, running_process
from stack.up.running_stack import find_settings_file, load_command_settings
from stack.up.welcome import example_command


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_settings_of_the_stack_in_this_folder_are_taken_while_it_runs_and_that_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {})
    with DataFolder(Path("data")) as folder:
        assert find_settings_file({}) is None  # it is not that far yet
        folder.write_connection_file({"kafka": {"bootstrap": "127.0.0.1:4711"}})
        assert find_settings_file({}) == Path("data/civicstream.toml")
        assert load_command_settings(None, "tail").kafka.bootstrap == "127.0.0.1:4711"
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert "data/civicstream.toml" in said.err
        own = Path("own.toml")
        own.write_text('[kafka]\nbootstrap = "kafka.example.org:9092"\n')
        assert load_command_settings(own, "tail").kafka.bootstrap == "kafka.example.org:9092"
        assert capsys.readouterr().err == ""
    assert find_settings_file({}) is None


@pytest.mark.parametrize(
    "environ",
    [
        {"CIVICSTREAM_CONFIG": "own.toml"},
        {"CIVICSTREAM_KAFKA__BOOTSTRAP": "kafka.example.org:9092"},
        {"CIVICSTREAM_DATABASE__URL": "postgresql://a@b/c"},
    ],
)
def test_who_says_where_the_servers_are_gets_those(environ: dict[str, str]) -> None:
    with DataFolder(Path("data")) as folder:
        folder.write_connection_file({"kafka": {"bootstrap": "127.0.0.1:4711"}})
        assert find_settings_file(environ) is None
        assert find_settings_file({"CIVICSTREAM_FEEDS__PORT": "8311"}) is not None


def test_what_a_killed_stack_has_left_is_not_taken() -> None:
    with DataFolder(Path("data")) as folder:
        folder.write_connection_file({})
        left = Path("data/civicstream.toml").read_text()
        lock = Path("data/civicstream.lock").read_text()
    Path("data/civicstream.toml").write_text(left)
    assert find_settings_file({}) is None  # this process lives, but has let go of the lock
    dead = subprocess.Popen(["true"])
    dead.wait()
    Path("data/civicstream.lock").write_text(f"{dead.pid}\n")
    assert find_settings_file({}) is None
    assert lock.strip().isdecimal()
    assert running_process(Path("nothing")) is None


@pytest.mark.parametrize(
    "clock",
    [
        REAL,
        Clock(wall_ms(), wall_ms() - 25_200_000, 1.0),
        Clock(wall_ms() - 60_000, wall_ms() - 86_400_000, 60.0),
        Clock(wall_ms() - 60_000, wall_ms() - 86_400_000, 2.5),
    ],
)
def test_the_example_sends_the_citys_present_time_whatever_its_clock(clock: Clock) -> None:
    command = example_command(4711, "city/v1/noise/d0/my-sensor", clock)
    assert command.startswith("mosquitto_pub -h 127.0.0.1 -p 4711 -q 1 -t city/v1/noise/d0/my-")
    payload = command.partition(" -m ")[2]
    made = subprocess.run(["sh", "-c", f"echo {payload}"], capture_output=True, text=True)  # noqa: PLW1510
    assert made.stdout.startswith('{"ts":'), made.stderr
    ts = int(made.stdout.partition(":")[2].partition(",")[0])
    assert made.stdout == f'{{"ts":{ts},"LAeq":61.5}}\n'
    assert abs(ts - clock.at(wall_ms())) < 2_000 * max(1, clock.speed)
