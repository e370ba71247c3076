"""The benches by name, and how one is run.

A bench is a module of this package with ``run(*, seconds, readings=None)`` that returns one
flat JSON object. It is imported only when it runs: each brings servers and libraries of its own.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path

from civicstream.errors import ConfigurationError

__all__ = ["BENCHES", "Bench", "find", "run"]


@dataclass(frozen=True)
class Bench:
    """``seconds`` is the measuring time when none is asked for; start-up comes on top."""

    name: str
    measures: str
    seconds: float


BENCHES = {
    bench.name: bench
    for bench in (
        Bench("streams", "one worker from Kafka frames to final results, beside peers", 40),
        Bench("sink", "rows into a hypertable, beside executemany and a bare COPY", 30),
        Bench("gateway", "MQTT to Kafka, beside a bare callback and a naive bridge", 30),
        Bench("e2e", "the whole embedded stack: rate held and delays", 60),
        Bench("start", "the embedded stack: seconds until it is ready, memory and CPU at rest", 20),
        Bench("rest", "the embedded stack at 500 readings/s and at none: cores and delays", 120),
        Bench("memory", "the worker's peak memory from 1,000 to 1,000,000 sensors", 40),
        Bench("health", "broken sensors found on simulated cities, how soon, false alarms", 240),
        Bench("incidents", "incident detectors on simulated days with known incidents", 360),
        Bench("demand", "forecasts of tasks, containers and car parks against their intervals", 60),
        Bench("allocation", "crews sent by each policy on the same simulated days", 600),
        Bench("feeds", "1,000 live clients at 200 updates/s, beside a naive broadcast", 45),
        Bench("alerts", "what rules cost a window of 10,000 segments; from window to webhook", 20),
        Bench("nab", "anomaly scores, judged as the Numenta Anomaly Benchmark does it", 60),
    )
}


def find(name: str) -> list[Bench]:
    """Return the bench called ``name``, or every one for ``all``."""
    if name == "all":
        return list(BENCHES.values())
    if name not in BENCHES:
        raise ConfigurationError(f"no bench {name!r}; there are {', '.join(BENCHES)} and all")
    return [BENCHES[name]]


def run(
    bench: Bench, *, seconds: float | None, readings: int | None, data: Path | None = None
) -> dict[str, object]:
    """Run ``bench`` and return its object.

    ``readings`` is for benches that count by readings, ``data`` for those on recorded data.
    """
    module = importlib.import_module(f"benchmarks.{bench.name}")
    arguments: dict[str, object] = {"seconds": bench.seconds if seconds is None else seconds}
    if readings is not None:
        if "readings" not in inspect.signature(module.run).parameters:
            raise ConfigurationError(
                f"bench {bench.name} measures for a time; give --seconds instead of --readings"
            )
        arguments["readings"] = readings
    if data is not None and "data" in inspect.signature(module.run).parameters:
        arguments["data"] = data
    result: dict[str, object] = module.run(**arguments)
    return result
