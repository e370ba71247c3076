"""``memory``: the worker's peak memory and speed from 1,000 to 1,000,000 sensors.

Every sensor reports once a minute. A window stays open for its minute, the lateness and the
out-of-orderness bound, so ``open_readings`` is what the worker has to hold; what it holds besides
is the city model, in ``loaded_mb``. ``bytes_per_open_reading`` is the peak while working, less
what was resident before the first frame, by ``open_readings``.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kafka_input import produce_frames
from benchmarks.stage import embedded_kafka
from benchmarks.worker_run import WorkerRun, run_worker
from benchmarks.workload import Load, traffic_city
from civicstream.geojson import write_city
from civicstream.kinds import KINDS
from civicstream.settings import WindowSettings

__all__ = ["copies_held", "run"]

SIZES = (1_000, 10_000, 100_000, 1_000_000)
INTERVAL_S = 60.0
FRAME_READINGS = 1_000
# Key, time, area code, time of ingestion and the measures of a traffic reading in a window.
READING_BYTES = 8 + 8 + 4 + 8 + 8 * len(KINDS["traffic"].measures)
# The first minute closes 35 s into the second: until then everything stays open.
FEWEST_MINUTES = 2
# The largest city takes as long as the others together, most of it to read its model. A run
# shorter than this works on it and on the others at the same time, at lower speeds.
LONG_RUN_S = 20
# Enough for a speed, not more: in a small city a minute is few readings and costs its windows
# all the same, so these are the slow ones.
READINGS_PER_SECOND_ASKED = {1_000: 4_000, 10_000: 20_000, 100_000: 50_000, 1_000_000: 100_000}


@dataclass(frozen=True)
class Size:
    """One city size and how the worker did on it."""

    sensors: int
    run: WorkerRun

    @property
    def open_readings(self) -> int:
        windows = WindowSettings()
        open_s = windows.size_s + windows.lateness_s + windows.out_of_orderness_s
        return round(self.sensors / INTERVAL_S * open_s)

    @property
    def bytes_per_open_reading(self) -> float:
        return (self.run.working_mb - self.run.resident_mb) * 1e6 / self.open_readings

    def row(self) -> dict[str, object]:
        return {
            "sensors": self.sensors,
            "peak_mb": round(self.run.peak_mb),
            "readings_per_s": round(self.run.readings_per_s),
            "loaded_mb": round(self.run.loaded_mb),
            "resident_mb": round(self.run.resident_mb),
            "working_mb": round(self.run.working_mb),
            "open_readings": self.open_readings,
            "bytes_per_open_reading": round(self.bytes_per_open_reading),
        }


def run(*, seconds: float, readings: int | None = None) -> dict[str, object]:
    """Measure every size with about a quarter of ``seconds`` (or with ``readings``) each.

    Below 20 s the largest city is measured beside the others: the same memory, lower speeds.
    """

    def measure(sensors: int) -> Size:
        wanted = readings or round(seconds / len(SIZES) * READINGS_PER_SECOND_ASKED[sensors])
        with tempfile.TemporaryDirectory(prefix="civicstream-bench-") as folder:
            return _measure(sensors, wanted, Path(folder))

    *others, largest = SIZES
    if seconds >= LONG_RUN_S:
        sizes = [measure(sensors) for sensors in SIZES]
    else:
        with ThreadPoolExecutor(1) as beside:
            last = beside.submit(measure, largest)
            sizes = [*(measure(sensors) for sensors in others), last.result()]
    return {
        "sizes": [size.row() for size in sizes],
        "copies_of_open_readings": copies_held(sizes),
    }


def _measure(sensors: int, readings: int, folder: Path) -> Size:
    load = Load(traffic_city(sensors), interval_s=INTERVAL_S)
    city_file = folder / "city.geojson"
    write_city(load.city, city_file)
    wanted = max(readings, FEWEST_MINUTES * sensors)
    with embedded_kafka(folder / "kafka") as kafka:
        produced = produce_frames(kafka, load, wanted, frame_size=FRAME_READINGS)
        # Loading a large city and working at a tenth of the goal, or it is stuck.
        timeout_s = 90 + sensors / 10_000 + wanted / 4_000
        return Size(sensors, run_worker(kafka, produced, city_file, folder, timeout_s=timeout_s))


def copies_held(sizes: list[Size]) -> float:
    """Return how many times the columns of its open readings a worker held at most, in the
    largest city; in smaller ones the allocator's own megabytes outweigh the readings.
    """
    return round(sizes[-1].bytes_per_open_reading / READING_BYTES, 2)
