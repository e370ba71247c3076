"""Bytewax: one worker, ``fold_window`` per sensor on an event clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import cluster_main

from benchmarks.peers.stopwatch import Arguments, Stopwatch, parse_arguments

Sum = tuple[float, int]
Reading = tuple[datetime, float]


class _Counted(StatelessSinkPartition[Any]):  # type: ignore[misc]
    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def write_batch(self, items: list[Any]) -> None:
        self._stopwatch.results += len(items)


class _CountingSink(DynamicSink[Any]):  # type: ignore[misc]
    """Takes the results and only counts them."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> _Counted:
        return _Counted(self._stopwatch)


def flow(arguments: Arguments, stopwatch: Stopwatch) -> Dataflow:
    """Return the dataflow; it ends at the end of the topic."""

    def parse(message: Any) -> tuple[str, Reading]:
        stopwatch.reading()
        value = json.loads(message.value)
        at = datetime.fromtimestamp(value["ts"] / 1000, UTC)
        return value["sensor"], (at, value["averageVehicleSpeed"])

    def add(total: Sum, reading: Reading) -> Sum:
        return total[0] + reading[1], total[1] + 1

    def merge(one: Sum, other: Sum) -> Sum:
        return one[0] + other[0], one[1] + other[1]

    dataflow = Dataflow("bench")
    # The largest batch that made it no slower; its default is 1,000.
    source = KafkaSource([arguments.kafka], [arguments.topic], tail=False, batch_size=1_000)
    clock: win.EventClock[Reading] = win.EventClock(
        lambda reading: reading[0], wait_for_system_duration=timedelta(seconds=5)
    )
    minutes = win.TumblingWindower(
        length=timedelta(minutes=1), align_to=datetime(2020, 1, 1, tzinfo=UTC)
    )
    messages = op.input("kafka", dataflow, source)
    readings = op.map("parse", messages, parse)
    sums = win.fold_window("sum", readings, clock, minutes, lambda: (0.0, 0), add, merge)
    means = op.map("mean", sums.down, lambda item: (item[0], item[1][0], _mean(item[1][1])))
    op.output("count", means, _CountingSink(stopwatch))
    return dataflow


def _mean(total: Sum) -> float:
    return total[0] / total[1]


def main() -> None:
    arguments, stopwatch = parse_arguments(), Stopwatch()
    cluster_main(flow(arguments, stopwatch), [], 0)
    stopwatch.report()


if __name__ == "__main__":
    main()
