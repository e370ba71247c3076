"""The peers' measuring: how many readings in what time, and their arguments."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, field

import msgspec

__all__ = ["Arguments", "Stopwatch", "parse_arguments"]


@dataclass(frozen=True)
class Arguments:
    kafka: str
    topic: str
    readings: int
    folder: str
    partitions: int


def parse_arguments() -> Arguments:
    """Return the arguments every peer takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kafka", required=True, help="HOST:PORT")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--readings", type=int, required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--folder", required=True, help="for the framework's state")
    return Arguments(**vars(parser.parse_args()))


@dataclass
class Stopwatch:
    """Runs from the first ``reading()``; ``report()`` stops it."""

    readings: int = 0
    results: int = 0
    _started: float = field(default=0.0, repr=False)
    _cpu_before: float = field(default=0.0, repr=False)

    def reading(self) -> int:
        """Count one reading consumed and return how many there were."""
        if not self.readings:
            self._started = time.perf_counter()
            self._cpu_before = time.process_time()
        self.readings += 1
        return self.readings

    def report(self) -> None:
        """Print the measurement as the last line of standard output."""
        seconds = time.perf_counter() - self._started
        measured = {
            "readings": self.readings,
            "results": self.results,
            "seconds": seconds,
            "readings_per_s": self.readings / seconds,
            "cpu_s": time.process_time() - self._cpu_before,
        }
        sys.stdout.write(msgspec.json.encode(measured).decode() + "\n")
        sys.stdout.flush()
