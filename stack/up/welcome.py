"""What `civicstream up` says when all is ready: every address, and a reading to send."""

from __future__ import annotations

import json
import shutil
import urllib.request
from fractions import Fraction
from pathlib import Path

from civicstream.clock import REAL, Clock
from civicstream.settings import Settings
from stack.data_folder import DATA_FOLDER, DataFolder, write_private
from stack.servers.database import postgres_program
from stack.up.addresses import LOOPBACK
from stack.up.parts import Stack

__all__ = ["example_command", "welcome"]

_AREA = "north"
"""Of the reading where the city has no model."""


def welcome(stack: Stack, settings: Settings, folder: DataFolder) -> list[str]:
    """Return a line for each address; the reader's address goes into a file of the folder."""
    at = stack.addresses
    lines = [f"open      {stack.page_url}", f"MQTT      {at.mqtt_host}:{at.mqtt_port}"]
    if stack.has_broker:
        topic = f"{settings.mqtt.root}/noise/{_first_area(stack.page_url)}/my-sensor"
        lines.append(f"send      {example_command(at.mqtt_port, topic, stack.city_time.clock)}")
    lines.append(f"Kafka     {at.kafka}")
    if stack.reader_url:
        write_private(folder.reader_url_file, stack.reader_url)
        psql = "psql" if shutil.which("psql") else postgres_program("psql")
        lines += [
            f"database  {LOOPBACK}:{at.database_port}",
            f'rows      {psql} "$(cat {_shown(folder.reader_url_file)})"',
        ]
    return [
        *lines,
        f"settings  {_shown(folder.connection_file)} ({_use_of(folder)})",
        f"logs      {_shown(folder.logs)}",
    ]


def example_command(port: int, topic: str, clock: Clock) -> str:
    """Return a shell command that sends a reading of the city's present, whenever it is run."""
    return (
        f"mosquitto_pub -h {LOOPBACK} -p {port} -q 1 -t {topic} "
        f"-m '{{\"ts\":'{_present(clock)}',\"LAeq\":61.5}}'"
    )


def _present(clock: Clock) -> str:
    """Return a shell expression of the city's time [epoch ms]."""
    wall = "$(date +%s000)"
    if clock == REAL:
        return wall
    if clock.speed == 1:
        return f"$(({wall}-{clock.wall_ms - clock.city_ms}))"
    speed = Fraction(clock.speed).limit_denominator(1_000)
    factor = f"*{speed.numerator}" + (f"/{speed.denominator}" if speed.denominator > 1 else "")
    return f"$((({wall}-{clock.wall_ms}){factor}+{clock.city_ms}))"


def _first_area(page_url: str) -> str:
    """Return a district of the running city, as its API lists them."""
    try:
        with urllib.request.urlopen(f"{page_url}api/v1/areas?limit=1", timeout=5) as answer:  # noqa: S310 our own page
            return str(json.load(answer)["items"][0]["id"])
    except (OSError, ValueError, LookupError):
        return _AREA


def _use_of(folder: DataFolder) -> str:
    """Return how other commands come to the settings file."""
    if folder.path == DATA_FOLDER.resolve():
        return "commands in this folder find it"
    return "for commands, with -c"


def _shown(path: Path) -> str:
    """Return a path as one would type it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
