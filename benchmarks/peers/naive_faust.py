"""Faust as its tutorial has it: a JSON record per reading, a windowed table per sensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faust

from benchmarks.peers.stopwatch import Arguments, Stopwatch, parse_arguments


class Reading(faust.Record, serializer="json"):  # type: ignore[call-arg,misc]
    """What a detector sent."""

    sensor: str
    ts: int
    intensity: float
    averageVehicleSpeed: float  # noqa: N815 the field's name on the wire


def build(arguments: Arguments, stopwatch: Stopwatch) -> faust.App:
    """Return the app; it reports after the last reading and runs on until it is stopped."""
    app = faust.App(
        "bench-naive-faust",
        broker=f"kafka://{arguments.kafka}",
        datadir=Path(arguments.folder),
        broker_session_timeout=6,
        broker_heartbeat_interval=2,
        topic_partitions=arguments.partitions,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
    )
    topic = app.topic(arguments.topic, value_type=Reading)
    # One table with sum and count: half the writes of one table for each.
    sums = (
        app.Table("sums", default=lambda: (0.0, 0))
        .tumbling(60, expires=3600)
        .relative_to(lambda event: event.value.ts / 1000)
    )

    async def mean(readings: Any) -> None:
        async for reading in readings:
            number = stopwatch.reading()
            total, count = sums[reading.sensor].value()
            sums[reading.sensor] = (total + reading.averageVehicleSpeed, count + 1)
            stopwatch.results += 1
            if number == arguments.readings:
                stopwatch.report()

    app.agent(topic)(mean)
    return app


def main() -> None:
    arguments = parse_arguments()
    app = build(arguments, Stopwatch())
    faust.Worker(app, loglevel="WARN", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
