"""What people do beside a running stack: commands without settings, a reading of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from civicstream.clock import Clock, wall_ms
from civicstream.settings import ENV_PREFIX, DatabaseSettings, MqttSettings, Settings, load_settings
from sinks.admin.init import init_database
from stack.data_folder import DataFolder
from stack.servers.database import EmbeddedDatabase
from stack.up.addresses import choose_addresses
from stack.up.options import StackOptions
from stack.up.part_settings import connection_sections
from stack.up.parts import Stack
from stack.up.welcome import example_command
from tests.kit.mqtt_reader import MqttReader

KNOWN = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}


def test_tokens_are_made_in_the_embedded_database_without_a_word_of_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tempfile.TemporaryDirectory(prefix="civicstream-") as name:
        monkeypatch.chdir(name)
        options = StackOptions(Path("data"), simulator=False)
        settings, addresses = load_settings(None, {}), choose_addresses(options)
        with DataFolder(options.data) as folder:
            log = folder.logs / "database.log"
            database = EmbeddedDatabase(folder.path / "database", addresses.database_port, log)
            child = database.launch()
            try:
                child.wait_ready(database.ready)
                stack = Stack(options, settings, addresses, folder)
                owner = stack.sections_for_people()["database"]
                init_database(Settings(database=DatabaseSettings.model_validate(owner)))
                sections = connection_sections(settings, stack.sections_for_people())
                folder.write_connection_file(sections)
                made = _run("token", "create", "desk-1", "--scope", "read")
                assert made.returncode == 0, made.stderr
                assert made.stdout.startswith("cst_")
                assert made.stderr.count("data/civicstream.toml") == 1
                assert "desk-1" in _run("token", "list").stdout
                assert _run("audit", "verify").stdout.startswith("whole: 1 rows")
            finally:
                child.stop()


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack.cli", *command],
        env=KNOWN,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_printed_line_sends_a_reading_of_the_citys_present(mosquitto: MqttSettings) -> None:
    if shutil.which("mosquitto_pub") is None:
        pytest.skip("mosquitto_pub is not installed; run tests/servers.sh")
    clock = Clock(wall_ms(), wall_ms() - 25_200_000, 1.0)
    line = example_command(mosquitto.port, "city/v1/noise/d0000/my-sensor", clock)
    with MqttReader(mosquitto) as reader:
        subprocess.run(["sh", "-c", line], check=True, timeout=30)
        reader.wait_for(1)
        ((topic, payload),) = reader.received
    assert topic == "city/v1/noise/d0000/my-sensor"
    reading = json.loads(payload)
    assert reading.keys() == {"ts", "LAeq"}
    assert abs(reading["ts"] - clock.at(wall_ms())) < 60_000
