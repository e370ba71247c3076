"""Quix Streams: one process, ``tumbling_window().mean().final()`` on its state store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from quixstreams import Application

from benchmarks.peers.stopwatch import Stopwatch, parse_arguments


def main() -> None:
    arguments, stopwatch = parse_arguments(), Stopwatch()
    processed = 0

    def on_processed(_topic: str, _partition: int, _offset: int) -> None:
        nonlocal processed
        processed += 1
        if processed == arguments.readings:
            app.stop()

    def event_time(value: Any, _headers: Any, _timestamp: float, _kind: Any) -> int:
        stopwatch.reading()
        ts: int = value["ts"]
        return ts

    def count_result(_result: Any) -> None:
        stopwatch.results += 1

    app = Application(
        broker_address=arguments.kafka,
        consumer_group="bench-quix",
        auto_offset_reset="earliest",
        state_dir=arguments.folder,
        on_message_processed=on_processed,
        # Without changelog topics it is faster, and the broker's quirks cannot harm it.
        use_changelog_topics=False,
        loglevel="WARNING",
        consumer_extra_config={"session.timeout.ms": 6000},
    )
    topic = app.topic(arguments.topic, timestamp_extractor=event_time)
    means = (
        app.dataframe(topic)
        .apply(lambda value: value["averageVehicleSpeed"])
        .tumbling_window(timedelta(minutes=1), grace_ms=timedelta(seconds=5))
        .mean()
        .final()
    )
    means.update(count_result)
    app.run()
    stopwatch.report()


if __name__ == "__main__":
    main()
