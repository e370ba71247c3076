"""The options of `civicstream up`, each declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from stack.data_folder import DATA_FOLDER

__all__ = ["StackOptions"]


@dataclass(frozen=True)
class StackOptions:
    """A server given as an address is not started; a port of 0 means any free one."""

    data: Annotated[
        Path, typer.Option(help="Folder of the database and logs, kept between runs.")
    ] = DATA_FOLDER
    fresh: Annotated[bool, typer.Option("--fresh", help="Wipe the data folder first.")] = False
    mqtt: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Use this MQTT broker.")] = (
        None
    )
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT[,…]", help="Use this Kafka, its brokers.")
    ] = None
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="Use this PostgreSQL or TimescaleDB.")
    ] = None
    mqtt_port: Annotated[int, typer.Option(help="Port of our MQTT broker; 0: a free one.")] = 0
    kafka_port: Annotated[int, typer.Option(help="Port of our Kafka; 0: a free one.")] = 0
    database_port: Annotated[int, typer.Option(help="Port of our database; 0: a free one.")] = 0
    http_port: Annotated[
        int,
        typer.Option(
            help="Of the page and the API; 0: a free one if 8311 is taken.", show_default="8311"
        ),
    ] = 0
    mosquitto: Annotated[
        bool, typer.Option(help="Use mosquitto where it is installed, else amqtt.")
    ] = True
    sensors: Annotated[int, typer.Option(min=20, help="Sensors of the simulated city.")] = 1_000
    rate: Annotated[float, typer.Option(min=0.1, help="Readings per second it sends.")] = 500.0
    seed: Annotated[int, typer.Option(help="Which simulated city.")] = 1
    simulator: Annotated[
        bool, typer.Option(help="--no-simulator: wait for readings of your own.")
    ] = True
    city: Annotated[Path | None, typer.Option(help="The city's model (GeoJSON); docs/city.md.")] = (
        None
    )
    """None: that of the settings, or one made for the simulator."""
    time: Annotated[
        str | None,
        typer.Option(
            help="The simulated city's clock starts at HH:MM, or is the real one: now.",
            show_default="07:45",
        ),
    ] = None
    incidents: Annotated[
        float, typer.Option(min=0, help="Road incidents per hour of the simulated city.")
    ] = 4.0
    replay: Annotated[
        Path | None, typer.Option(help="Play a recorded city instead: its folder; docs/replay.md.")
    ] = None
    speed: Annotated[
        float, typer.Option(min=0.1, max=10_000, help="Of the replay, times real time.")
    ] = 60.0
    begin: Annotated[
        str | None, typer.Option("--from", help="Where the replay begins: 2014-08-04T06:00.")
    ] = None
    """By the city's own clocks then, as ``end``."""
    end: Annotated[str | None, typer.Option("--until", help="Where it ends.")] = None
    duration_s: Annotated[
        float | None,
        typer.Option("--duration", help="Stop by itself so many seconds after all is ready."),
    ] = None
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML settings; the environment wins.")
    ] = None
