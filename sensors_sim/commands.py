"""The commands ``city``, ``simulate`` and ``replay``; what they run is imported when they run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["city"]

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
