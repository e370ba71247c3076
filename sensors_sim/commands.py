"""The commands ``city``, ``simulate`` and ``replay``; what they run is imported when they run."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from civicstream.command_options import options_of

if TYPE_CHECKING:
    from civicstream.settings import Settings
    from sensors_sim.replay import Shift
    from sensors_sim.simulation import SimulationPlan

__all__ = ["city", "replay", "replay_city", "simulate"]

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


def replay_city(
    folder: Annotated[Path, typer.Argument(help="Folder of the recording; see docs/replay.md.")],
    begin: Annotated[
        str | None, typer.Option("--from", help="First time, by the city's own clocks then.")
    ] = None,
    end: Annotated[str | None, typer.Option("--until", help="Last time.")] = None,
    shift_ms: Annotated[int, typer.Option(help="Move all times by so much.")] = 0,
    connections: Connections = 1,
    truth: Truth = None,
    truth_readings: Annotated[
        bool, typer.Option(help="Have every reading in the truth, not only the counts.")
    ] = True,
    city_out: Annotated[
        Path | None, typer.Option(help="Write the city model (GeoJSON) and publish nothing.")
    ] = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Publish a recorded city over MQTT by the city's clock; print the counts as JSON."""
    from civicstream.geojson import write_city
    from sensors_sim.city_recording import read_city_recording, recorded_part
    from sensors_sim.city_replay import replay_city as publish
    from sensors_sim.recorded_city import recorded_city
    from sensors_sim.service import Run

    settings = _settings("replay", config, verbose)
    part = recorded_part(folder, begin, end)
    if city_out:
        write_city(recorded_city(read_city_recording(folder, *part)), city_out)
        return
    run = Run(connections, None, truth, truth_readings)
    counts = publish(settings, folder, part, shift_ms, run)
    sys.stdout.write(json.dumps(counts) + "\n")


@dataclass(frozen=True)
class SimulateOptions:
    """The options of `civicstream simulate`."""

    sensors: Annotated[int, typer.Option(min=1, help="Size of the city.")] = 1_000
    seed: Seed = 1
    city_file: Annotated[
        Path | None, typer.Option("--city", help="Simulate this city model instead of a new one.")
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Readings/s to publish; scales all reporting intervals."),
    ] = None
    speed: Annotated[
        float, typer.Option(min=0.001, help="Event time runs so many times as fast as the clock.")
    ] = 1.0
    duration: Annotated[float | None, typer.Option(min=0.1, help="Stop after so many s.")] = None
    start: Annotated[
        str, typer.Option(help="Event time at the start: now, or RFC 3339 with offset.")
    ] = "now"
    kinds: Annotated[str, typer.Option(help="Kinds to simulate, comma-separated.")] = "all"
    batch: Annotated[int, typer.Option(min=1, max=1_000, help="Readings per message.")] = 1
    connections: Connections = 2
    incidents: Annotated[float, typer.Option(min=0, help="Road incidents per hour.")] = 4.0
    history: Annotated[
        float, typer.Option(min=0, help="Seconds of traffic before the start, sent at once.")
    ] = 0.0
    staged_incident: Annotated[
        float | None,
        typer.Option(min=0, help="One more, so many seconds after the start, on a full road."),
    ] = None
    citizens: Annotated[int, typer.Option(min=0, help="People who report problems.")] = 0
    crews: Annotated[
        int, typer.Option(min=0, help="Crews; they get allocations where Kafka is reachable.")
    ] = 0
    trucks: Annotated[
        int, typer.Option(min=0, help="Waste trucks: containers are emptied by them alone.")
    ] = 0
    truth: Truth = None
    truth_readings: Annotated[
        bool,
        typer.Option(help="--no-truth-readings: write down what happens, not every reading."),
    ] = True
    duplicates: Share = 0.0
    late: Share = 0.0
    late_by: Annotated[
        float,
        typer.Option(min=1, help="How late [s], to twice that.", rich_help_panel="Faults"),
    ] = 120.0
    out_of_order: Share = 0.0
    clock_skew: Annotated[
        float, typer.Option(help="Share 0..1 of the sensors.", rich_help_panel="Faults")
    ] = 0.0
    dropouts: Share = 0.0
    malformed: Share = 0.0
    broken_sensors: Annotated[
        float, typer.Option(help="Share 0..1 of the sensors that break.", rich_help_panel="Faults")
    ] = 0.0
    broken_after: Annotated[
        float,
        typer.Option(min=0, help="Hours before the first breaks.", rich_help_panel="Faults"),
    ] = 0.0
    broken_within: Annotated[
        float, typer.Option(min=0, help="Hours until the last has.", rich_help_panel="Faults")
    ] = 1.0
    broken_for: Annotated[
        float | None,
        typer.Option(min=0.01, help="Hours it lasts [default: ever]", rich_help_panel="Faults"),
    ] = None
    sensor_faults: Annotated[
        str, typer.Option(help="How they break, comma-separated.", rich_help_panel="Faults")
    ] = "all"
    config: Config = None
    verbose: Verbose = False

    def plan(self, timezone: str) -> SimulationPlan:
        """Return what is to be simulated; raise ConfigurationError for what cannot be."""
        from civicstream.kinds import KINDS
        from sensors_sim.faults import FaultRates
        from sensors_sim.sensor_faults import SENSOR_FAULTS, SensorFaultPlan
        from sensors_sim.simulation import SimulationPlan

        faults = tuple(self.sensor_faults.split(","))
        return SimulationPlan(
            seed=self.seed,
            rate=self.rate,
            speed=self.speed,
            kinds=tuple(KINDS) if self.kinds == "all" else tuple(self.kinds.split(",")),
            batch=self.batch,
            incidents_per_hour=self.incidents,
            staged_after_s=self.staged_incident,
            history_s=self.history,
            timezone=timezone,
            collected=self.trucks > 0,
            faults=FaultRates(
                duplicates=self.duplicates,
                late=self.late,
                out_of_order=self.out_of_order,
                clock_skew=self.clock_skew,
                dropouts=self.dropouts,
                malformed=self.malformed,
                late_by_s=self.late_by,
            ),
            sensor_faults=SensorFaultPlan(
                share=self.broken_sensors,
                faults=SENSOR_FAULTS if self.sensor_faults == "all" else faults,
                after_h=self.broken_after,
                within_h=self.broken_within,
                last_h=math.inf if self.broken_for is None else self.broken_for,
            ),
        )


@options_of(SimulateOptions)
def simulate(options: SimulateOptions) -> None:
    """Publish a simulated city over MQTT until stopped; print the counts as JSON at the end."""
    from civicstream.geojson import read_city
    from sensors_sim import service
    from sensors_sim.city_plan import plan_city
    from sensors_sim.street_life import People

    settings = _settings("simulate", options.config, options.verbose)
    plan = options.plan(settings.city.timezone)
    start_ms = None if options.start == "now" else _instant("--start", options.start)
    given = options.city_file
    model = read_city(given) if given else plan_city(options.sensors, options.seed)
    run = service.Run(
        options.connections,
        options.duration,
        options.truth,
        options.truth_readings,
        People(options.citizens, options.crews, options.trucks),
    )
    counts = service.simulate(settings, model, plan, run, start_ms)
    sys.stdout.write(json.dumps(counts) + "\n")


def replay(
    file: Annotated[Path, typer.Argument(help="CSV: a column per sensor, or timestamp,value.")],
    kind: Annotated[str, typer.Option(help="Kind of the readings.")] = "traffic",
    measure: Annotated[str, typer.Option(help="What the values are.")] = "averageVehicleSpeed",
    unit: Annotated[
        str | None, typer.Option(help="Unit of the file: mph, m/s, percent, fahrenheit, ppb.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="When the first row of a wide file was taken (RFC 3339).")
    ] = None,
    interval: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds between rows.", show_default="300")
    ] = None,
    timezone: Annotated[str, typer.Option(help="Of timestamps without offset.")] = "UTC",
    rows: Annotated[str, typer.Option(help="Rows first:last, counted from 0.")] = ":",
    shift: Annotated[
        str, typer.Option(help="Times: original, now, or RFC 3339 for the first row.")
    ] = "original",
    speed_up: Annotated[str, typer.Option(help="Times real time, or max.")] = "max",
    area: Annotated[str, typer.Option(help="Area of the sensors.")] = "replay",
    areas: Annotated[int, typer.Option(min=1, help="Spread them over so many areas.")] = 1,
    intensity: Annotated[
        float, typer.Option(min=0, help="Count of every traffic reading that has none.")
    ] = 100.0,
    adjacency: Annotated[
        Path | None, typer.Option(help="CSV of weights: which segments are neighbours.")
    ] = None,
    city_out: Annotated[
        Path | None, typer.Option(help="Write the matching city model (GeoJSON).")
    ] = None,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Only write the model.")] = False,
    connections: Connections = 1,
    truth: Truth = None,
    config: Config = None,
    verbose: Verbose = False,
) -> None:
    """Publish recorded series over MQTT; print the counts as JSON at the end."""
    from civicstream.geojson import write_city
    from sensors_sim.recordings import convert, find_measure, read_recording, rows_of
    from sensors_sim.replay import Series
    from sensors_sim.replay import replay as publish
    from sensors_sim.replay_city import city_around, read_neighbours
    from sensors_sim.service import Run

    settings = _settings("replay", config, verbose)
    first = None if start is None else _instant("--start", start)
    recording = read_recording(file, start_ms=first, interval_s=interval, timezone=timezone)
    recording = recording.rows(*rows_of(rows))
    declared = find_measure(kind, measure)
    recording = recording.with_values(convert(recording.values, unit, declared))
    n = len(recording.sensors)
    near = read_neighbours(adjacency, n) if adjacency else None
    model = city_around(recording.sensors, kind, area, min(areas, n), recording.interval_s, near)
    if city_out:
        write_city(model, city_out)
    if not plan_only:
        series, run = Series(recording, kind, declared, intensity), Run(connections, None, truth)
        counts = publish(settings, model, series, run, _speed(speed_up), _shift(shift))
        sys.stdout.write(json.dumps(counts) + "\n")


def _settings(part: str, config: Path | None, verbose: bool) -> Settings:
    from civicstream.clock import declare
    from civicstream.logs import set_up_logging
    from civicstream.settings import load_settings

    set_up_logging(part, verbose=verbose)
    settings = load_settings(config)
    declare(settings.clock.clock())
    return settings


def _shift(text: str) -> Shift:
    if text == "now":
        return "now"
    return "original" if text == "original" else _instant("--shift", text)


def _speed(text: str) -> float:
    from civicstream.errors import ConfigurationError

    try:
        speed = math.inf if text == "max" else float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise ConfigurationError(f"--speed-up {text!r}: give a number above 0, or max")
    return speed


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
