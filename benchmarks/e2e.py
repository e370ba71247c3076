"""``e2e``: the whole embedded stack on this machine, from MQTT publication to database row.

First 5,000 readings/s, one a message at QoS 1, are held for the asked-for time while probes
(``benchmarks/probes.py``) measure the delays. Then the rate goes up in short tries, and the
highest that looked right is held for as long again. ``held_readings_per_s`` is the highest rate
held for the whole time without growing lag. Simulator, brokers, gateway, worker, sink, database
and the measuring share the machine's cores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.backlog import Hold, Sample, lag_s
from benchmarks.probes import Probes, probe_areas, with_probes
from benchmarks.process_usage import cpu_seconds_by_part
from benchmarks.stack_under_test import (
    StackUnderTest,
    running_stack,
    simulator_counts,
    start_simulator,
)
from benchmarks.stage import LedgerWatch, check_alive
from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.events import LedgerReport
from civicstream.geojson import write_city
from stack.servers.brokers import find_mosquitto
from stack.servers.processes import Child
from stack.up.part_settings import EMBEDDED_PARTITIONS

__all__ = ["run"]

SENSORS = 5_000
GOAL_RATE = 5_000.0
STEP = 1.2
FEWEST_SECONDS = 5.0  # of a try: the ledger reports once a second
STEADY_AFTER_S = 3.0  # the gateway, worker and sink have then seen every topic and sensor
SEARCH_FROM_S = 20.0
LOWEST_STEP = 8  # a quarter of the goal
PROBES_PER_S = 20.0
DRAINED_WITHIN_S = 120.0
PROBE_TIMEOUT_S = 15.0
ACKS_S = 0.5  # the simulator ends with its last ack, not with its last publication


def run(*, seconds: float, readings: int | None = None) -> dict[str, object]:
    """Hold 5,000 readings/s for ``seconds`` (or for ``readings``), then look for the limit.

    A hold is at least 5 s; the search needs holds of 20 s, shorter ones only say whether 5,000
    are held.
    """
    from sensors_sim.city_plan import plan_city

    if find_mosquitto() is None:
        raise ConfigurationError("bench e2e needs mosquitto; run tests/servers.sh")
    hold_s = max(FEWEST_SECONDS, readings / GOAL_RATE if readings else seconds)
    city = plan_city(SENSORS, seed=1)
    with tempfile.TemporaryDirectory(prefix="civicstream-bench-") as name:
        folder = Path(name)
        load_file, stack_file = folder / "load.geojson", folder / "stack.geojson"
        areas = probe_areas(city, EMBEDDED_PARTITIONS)
        write_city(city, load_file)
        write_city(with_probes(city, areas), stack_file)
        with (
            running_stack(folder, stack_file) as stack,
            LedgerWatch(stack.settings.kafka) as ledger,
            Probes(areas, stack.settings.mqtt, stack.settings.kafka, stack.reader_url) as probes,
        ):
            trials = _Trials(stack, ledger, load_file, folder)

            cores: dict[str, float] = {}

            def measure() -> None:
                time.sleep(STEADY_AFTER_S)
                before, since = cpu_seconds_by_part(stack.process.pid), time.monotonic()
                probes.run(hold_s - STEADY_AFTER_S, per_second=PROBES_PER_S)
                took_s = time.monotonic() - since
                for part, used_s in cpu_seconds_by_part(stack.process.pid).items():
                    cores[part] = round((used_s - before.get(part, 0.0)) / took_s, 3)
                probes.finish(PROBE_TIMEOUT_S)

            trials.hold(GOAL_RATE, hold_s, meanwhile=measure)
            trials.published += probes.sent
            held = _search(trials, hold_s)
    return _result(trials.holds, held, probes, cores)


@dataclass
class _Trials:
    """Runs one rate after the other on the same stack, each on an empty backlog."""

    stack: StackUnderTest
    ledger: LedgerWatch
    city_file: Path
    folder: Path
    holds: list[Hold] = field(default_factory=list)
    published: int = 0
    _latest: dict[str, LedgerReport] = field(default_factory=dict)

    def hold(
        self, rate: float, seconds: float, meanwhile: Callable[[], None] | None = None
    ) -> Hold:
        """Publish ``rate`` readings/s for ``seconds`` and return what became of them."""
        self._wait_drained()
        before = {stage: _through(report) for stage, report in self._latest.items()}
        simulator = start_simulator(
            self.stack, self.city_file, self.folder, rate=rate, seconds=seconds
        )
        samples: dict[str, list[Sample]] = {"worker": [], "sink": []}
        try:
            if meanwhile:
                meanwhile()
            self._follow(simulator, samples)
        finally:
            simulator.stop()
        counts = simulator_counts(simulator)
        self.published += counts.published
        hold = Hold(
            rate=rate,
            published_per_s=counts.published / max(seconds, counts.elapsed_s - ACKS_S),
            lags_s={
                stage: lag_s(
                    [s for s in found if 0 <= s.at - counts.started_at <= seconds * 1000],
                    rate=counts.published / seconds,
                    started_at=counts.started_at,
                    before=before.get(stage, 0),
                )
                for stage, found in samples.items()
            },
        )
        self.holds.append(hold)
        return hold

    def _follow(self, simulator: Child, samples: dict[str, list[Sample]]) -> None:
        while simulator.alive():
            check_alive(self.stack.process)
            self._read_ledger(samples)
        self._read_ledger(samples)

    def _read_ledger(self, samples: dict[str, list[Sample]] | None = None) -> None:
        for report in self.ledger.reports():
            self._latest[report.stage] = report
            if samples is not None and report.stage in samples:
                samples[report.stage].append(Sample(report.at, _through(report)))

    def _wait_drained(self) -> None:
        """Return when every reading published so far is in the database."""
        deadline = time.monotonic() + DRAINED_WITHIN_S
        while True:
            self._read_ledger()
            sink = self._latest.get("sink")
            if sink is not None and _through(sink) >= self.published:
                return
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"{self.published:,} readings were published, and after "
                    f"{DRAINED_WITHIN_S:g} s the sink has {sink and _through(sink):,}"
                )


def _through(report: LedgerReport) -> int:
    """Readings that a stage is done with: rows committed, or readings in windows."""
    received = sum(counts.received for counts in report.kinds.values())
    if report.stage == "sink":
        return received - sum(counts.in_flight for counts in report.kinds.values())
    return received


def _search(trials: _Trials, hold_s: float) -> float | None:
    """Return the highest rate held for ``hold_s``, None when there is none.

    Short tries, up or down from the goal's rate, find where it may be; only a hold of the whole
    time counts.
    """
    first = trials.holds[0]
    best = first.published_per_s if first.held else None
    if hold_s < SEARCH_FROM_S:
        return best
    try_s = max(FEWEST_SECONDS, hold_s / 6)
    if first.held:
        promising: list[float] = []
        while trials.hold(rate := GOAL_RATE * STEP ** (len(promising) + 1), try_s).held:
            promising.append(rate)
        candidates = promising[::-1]
    else:
        lower = [GOAL_RATE / STEP**n for n in range(1, LOWEST_STEP + 1)]
        good = next((n for n, rate in enumerate(lower) if trials.hold(rate, try_s).held), None)
        candidates = [] if good is None else lower[good:]
    for rate in candidates:
        hold = trials.hold(rate, hold_s)
        if hold.held:
            return hold.published_per_s
    return best


def _result(
    holds: list[Hold], held: float | None, probes: Probes, cores: dict[str, float]
) -> dict[str, object]:
    def percentile(delays: list[float], share: float) -> float | None:
        return round(float(np.percentile(delays, share)), 3) if delays else None

    return {
        "held_readings_per_s": round(held) if held else 0,
        "p50_result_s": percentile(probes.result_delays_s, 50),
        "p99_result_s": percentile(probes.result_delays_s, 99),
        "p50_row_s": percentile(probes.row_delays_s, 50),
        "p99_row_s": percentile(probes.row_delays_s, 99),
        "probes": probes.sent,
        "probes_without_row": probes.without_row,
        "probes_without_result": probes.without_result,
        "cores_used": cores,
        "holds": [hold.row() for hold in holds],
    }
