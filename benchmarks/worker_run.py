"""One worker process through one prepared workload: its speed, CPU, memory and its results.

The frames are on Kafka before the worker starts. Time runs from the first report of the worker
that counts readings to the last final result of the workload's windows; the readings counted
are those after that first report. So start-up is left out, and a window that was half read at
the start is paid for in full. (A run so short that the first report counts most readings runs
from the report before it, which counts none: up to a second of start-up is then in it.) What was
published must be exactly what the workload holds, or there is no figure.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
from kafka import TopicPartition

from benchmarks.kafka_input import Produced
from benchmarks.process_usage import cpu_seconds, peak_mb, reset_peak
from benchmarks.stage import LedgerWatch, check_alive, environment, running
from civicstream.errors import ServerUnavailable
from civicstream.events import Counts, LedgerReport, TrafficResult
from civicstream.kafka.clients import consumer
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from stack.servers.processes import Child

__all__ = ["WorkerRun", "run_worker"]


@dataclass(frozen=True)
class WorkerRun:
    """``loaded_mb`` is the peak before the first frame (the city), ``resident_mb`` what was left
    of it then, ``working_mb`` the peak while frames were worked on.
    """

    readings: int
    seconds: float
    cpu_s: float
    loaded_mb: float
    resident_mb: float
    working_mb: float
    results: int

    @property
    def readings_per_s(self) -> float:
        return self.readings / self.seconds

    @property
    def peak_mb(self) -> float:
        return max(self.loaded_mb, self.working_mb)


WITHOUT_INTELLIGENCE = {
    "intelligence__sensor_health": False,
    "intelligence__incidents": "none",
    "intelligence__forecasts": False,
}


def run_worker(
    kafka: KafkaSettings,
    produced: Produced,
    city_file: Path,
    folder: Path,
    *,
    timeout_s: float,
    intelligence: bool = False,
) -> WorkerRun:
    """Start a worker on ``produced`` and return its figures once all windows are final.

    With ``intelligence`` it also watches the sensors, detects incidents and makes forecasts, and
    time runs until it has done so for the last window.

    Raise ServerUnavailable when it ends or takes longer than ``timeout_s``, RuntimeError when
    its results are not those of the workload.
    """
    settings = environment(
        kafka__bootstrap=kafka.bootstrap,
        kafka__partitions=kafka.partitions,
        kafka__session_timeout_ms=kafka.session_timeout_ms,
        city__file=city_file,
        worker__data_dir=folder / "worker",
        **({} if intelligence else WITHOUT_INTELLIGENCE),
    )
    deadline = time.monotonic() + timeout_s
    with (
        LedgerWatch(kafka) as ledger,
        running("worker", ["stack.cli", "worker"], folder, settings) as worker,
    ):
        ready = _next_report(ledger, worker, deadline, at_least=0)
        loaded = peak_mb(worker.pid)
        reset_peak(worker.pid)
        resident = peak_mb(worker.pid)
        cpu_before = cpu_seconds(worker.pid)
        first = _next_report(ledger, worker, deadline, at_least=1)
        if _counts(first).received > produced.readings / 2:
            first = ready
        else:
            cpu_before = cpu_seconds(worker.pid)
        last = _next_report(ledger, worker, deadline, at_least=produced.readings, settled=True)
        cpu_s = cpu_seconds(worker.pid) - cpu_before
        working = peak_mb(worker.pid)
        judged_at = 0
        if intelligence:
            judged_at = _windows_judged(ledger, worker, deadline, last, produced.minutes)
    results, ended_at = _check_results(kafka, produced, _counts(last))
    ended_at = max(ended_at, judged_at)
    return WorkerRun(
        readings=produced.readings - _counts(first).received,
        seconds=(ended_at - first.at) / 1000,
        cpu_s=cpu_s,
        loaded_mb=loaded,
        resident_mb=resident,
        working_mb=working,
        results=results,
    )


def _counts(report: LedgerReport) -> Counts:
    return report.kinds.get("traffic", Counts())


def _next_report(
    ledger: LedgerWatch, worker: Child, deadline: float, *, at_least: int, settled: bool = False
) -> LedgerReport:
    """Return the first report with so many readings received (``settled``: and published)."""
    latest: LedgerReport | None = None
    while time.monotonic() < deadline:
        check_alive(worker)
        report = ledger.next_report()
        if report is None:
            continue
        latest, counts = report, _counts(report)
        if counts.received - (counts.in_flight if settled else 0) >= at_least:
            return report
    raise ServerUnavailable(
        f"the worker did not get to {at_least:,} readings in time; its last report: {latest}\n"
        f"{worker.last_words()}"
    )


def _windows_judged(
    ledger: LedgerWatch, worker: Child, deadline: float, last: LedgerReport, windows: int
) -> int:
    """Return when the city's last window was judged for incidents and forecast from [ms]."""
    while last.gauges["network_windows"] < windows:
        last = _next_report(ledger, worker, deadline, at_least=0)
    return last.at


def _check_results(kafka: KafkaSettings, produced: Produced, counts: Counts) -> tuple[int, int]:
    """Return (final results, time of the last [ms]); RuntimeError unless they are complete."""
    readings = results = ended_at = 0
    seen: set[tuple[str, int]] = set()
    for result, at in _final_results(kafka):
        if result.window_start < produced.closing_ms:
            results += 1
            seen.add((result.area, result.window_start))
            readings += sum(segment.readings for segment in result.segments)
            ended_at = max(ended_at, at)
    expected = (produced.windows, produced.windows, produced.distinct, 0)
    if (results, len(seen), readings, counts.late) != expected:
        raise RuntimeError(
            "the worker's results are not those of its input; (results, distinct results, "
            f"readings in them, late): {(results, len(seen), readings, counts.late)}, "
            f"expected {expected}"
        )
    return results, ended_at


def _final_results(kafka: KafkaSettings) -> list[tuple[TrafficResult, int]]:
    """Return every final traffic result on Kafka with its record's time [ms]."""
    topic = topic_name(kafka.topic_prefix, "results.traffic")
    partitions = [TopicPartition(topic, p) for p in range(kafka.partitions)]
    reader = consumer(kafka, group_id=None, max_poll_records=5_000)
    reader.assign(partitions)
    reader.seek_to_beginning(*partitions)
    found: list[tuple[TrafficResult, int]] = []
    try:
        # Nothing is written any more, so an empty poll of a second is the end.
        while batches := reader.poll(timeout_ms=1_000):
            for batch in batches.values():
                for record in batch:
                    result = msgspec.json.decode(record.value, type=TrafficResult)
                    if result.status == "final":
                        found.append((result, record.timestamp))
    finally:
        reader.close()
    return found
