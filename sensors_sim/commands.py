"""The commands ``city``, ``simulate`` and ``replay``; what they run is imported when they run."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["city", "simulate"]

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML settings; the environment wins.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log the libraries too.")]
Share = Annotated[float, typer.Option(help="Share 0..1 of the messages.", rich_help_panel="Faults")]
Truth = Annotated[
    Path | None, typer.Option(help="Folder to write down what was published, exactly.")
]
Connections = Annotated[int, typer.Option(min=1, max=200, help="MQTT connections.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same city.")]


def city(
    sensors: Annotated[int, typer.Option(min=1, help="How many sensors, 20 to millions.")] = 1_000,
    seed: Seed = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="GeoJSON file to write.")] = Path(
        "city.geojson"
    ),
) -> None:
    """Plan a simulated city and write it as GeoJSON."""
    from civicstream.geojson import write_city
    from sensors_sim.city_plan import plan_city

    started = time.monotonic()
    plan = plan_city(sensors, seed)
    write_city(plan, out)
    sys.stdout.write(
        f"{out}: {len(plan.areas)} areas, {len(plan.segments)} road segments, "
        f"{len(plan.sensors)} sensors, seed {seed} ({time.monotonic() - started:.1f} s)\n"
    )


def simulate(
    sensors: Annotated[int, typer.Option(min=1, help="Size of the city.")] = 1_000,
    seed: Seed = 1,
    city_file: Annotated[
        Path | None, typer.Option("--city", help="Simulate this city model instead of a new one.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Readings/s to publish; scales all reporting intervals."),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.001, help="Event time runs so many times as fast as the clock.")
    ] = 1.0,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Stop after so many s.")] = None,
    start: Annotated[
        str, typer.Option(help="Event time at the start: now, or RFC 3339 with offset.")
    ] = "now",
    kinds: Annotated[str, typer.Option(help="Kinds to simulate, comma-separated.")] = "all",
    batch: Annotated[int, typer.Option(min=1, max=1_000, help="Readings per message.")] = 1,
    connections: Connections = 2,
    incidents: Annotated[float, typer.Option(min=0, help="Road incidents per hour.")] = 4.0,
    truth: Truth = None,
    duplicates: Share = 0.0,
    late: Share = 0.0,
    late_by: Annotated[
        float,
        typer.Option(min=1, help="How late [s], to twice that.", rich_help_panel="Faults"),
    ] = 120.0,
    out_of_order: Share = 0.0,
    clock_skew: Annotated[
        float, typer.Option(help="Share 0..1 of the sensors.", rich_help_panel="Faults")
    ] = 0.0,
    dropouts: Share = 0.0,
    malformed: Share = 0.0,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Publish a simulated city over MQTT until stopped; print the counts as JSON at the end."""
    from civicstream.geojson import read_city
    from civicstream.kinds import KINDS
    from civicstream.logs import set_up_logging
    from civicstream.settings import load_settings
    from sensors_sim import service
    from sensors_sim.city_plan import plan_city
    from sensors_sim.faults import FaultRates
    from sensors_sim.simulation import SimulationPlan

    set_up_logging("simulate", verbose=verbose)
    settings = load_settings(config)
    plan = SimulationPlan(
        seed=seed,
        rate=rate,
        speed=speed,
        kinds=tuple(KINDS) if kinds == "all" else tuple(kinds.split(",")),
        batch=batch,
        incidents_per_hour=incidents,
        faults=FaultRates(duplicates, late, out_of_order, clock_skew, dropouts, malformed, late_by),
    )
    start_ms = None if start == "now" else _instant("--start", start)
    model = read_city(city_file) if city_file else plan_city(sensors, seed)
    run = service.Run(connections, duration, truth)
    counts = service.simulate(settings, model, plan, run, start_ms)
    sys.stdout.write(json.dumps(counts) + "\n")


def _instant(option: str, text: str) -> int:
    """Return epoch ms of an RFC 3339 time; raise ConfigurationError without an offset."""
    from civicstream.errors import ConfigurationError

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(
            f"{option} {text!r}: give a time with its offset, like 2026-03-01T07:30:00Z"
        )
    return round(moment.timestamp() * 1000)
