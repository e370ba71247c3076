"""``streams``: one worker from frames to final results, beside other frameworks in the same run.

All get the readings of the same 5,000 detectors, one every 5 s each, 1 in 100 sent twice. The
worker reads them as frames of 1,000, leaves out the repeats and publishes flow, speeds, density,
level of service and so on per segment; the peers read a JSON record per reading and mean the
speed of each sensor, without leaving out repeats and without publishing. One after the other.

``everything_on_…``: the same with sensor health, anomalies, incidents and forecasts, which are
off otherwise.

A window costs something whatever is in it, so the worker's speed depends on how often sensors
report: a run of 30 s or more measures that too (``by_interval``).
"""

from __future__ import annotations

import logging
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec

from benchmarks.kafka_input import produce_frames, produce_json
from benchmarks.stage import embedded_kafka, running
from benchmarks.worker_run import WorkerRun, run_worker
from benchmarks.workload import Load, traffic_city
from civicstream.errors import ServerUnavailable
from civicstream.geojson import write_city
from civicstream.settings import KafkaSettings
from stack.servers.processes import wait_until

__all__ = ["PEERS", "Peer", "is_installed", "run"]

log = logging.getLogger(__name__)

SENSORS = 5_000
FRAME_READINGS = 1_000  # a full frame of the gateway
# With more, so few sensors would take so long to fill a frame that their clocks looked skewed.
PARTITIONS = 4
INTERVAL_S = 5.0
OTHER_INTERVALS_S = (1.0, 20.0)
LONG_RUN_S = 30.0
EXPECTED_PER_S = 800_000
"""Only to choose how many readings make the asked-for time."""


@dataclass(frozen=True)
class Peer:
    """A framework; ``expected_per_s`` only chooses how many readings it gets."""

    name: str
    module: str
    package: str
    expected_per_s: int
    counts_for_ratio: bool = True


PEERS = (
    Peer("bytewax", "bytewax_flow", "bytewax", 24_000),
    Peer("quix_streams", "quix_app", "quixstreams", 26_000),
    # Ours runs on Faust too; the comparison with it says what frames and windows bring.
    Peer("naive_faust", "naive_faust", "faust", 3_500, counts_for_ratio=False),
)


class PeerFigures(msgspec.Struct):
    """What a peer prints."""

    readings: int
    results: int
    seconds: float
    readings_per_s: float
    cpu_s: float


def run(*, seconds: float, readings: int | None = None) -> dict[str, object]:
    """Measure us without and with everything on, and the peers, a quarter of ``seconds`` each.

    With ``readings`` we get so many, and the peers as long as those are expected to take us.
    """
    share_s = readings / EXPECTED_PER_S if readings else seconds / (1 + len(PEERS))
    wanted = readings or round(share_s * EXPECTED_PER_S)
    long = readings is None and seconds >= LONG_RUN_S
    intervals = (INTERVAL_S, *(OTHER_INTERVALS_S if long else ()))
    city = traffic_city(SENSORS)
    with tempfile.TemporaryDirectory(prefix="civicstream-bench-") as name:
        folder = Path(name)
        ours = {}
        for interval_s in intervals:
            ours[interval_s] = _measure_worker(Load(city, interval_s=interval_s), wanted, folder)
        load = Load(city, interval_s=INTERVAL_S)
        everything = _measure_worker(load, wanted, folder, intelligence=True)
        peers: dict[str, PeerFigures] = {}
        with embedded_kafka(folder / "peers", partitions=PARTITIONS) as kafka:
            for peer in PEERS:
                if not is_installed(peer.package):
                    log.warning("%s is not installed; pip install 'civicstream[bench]'", peer.name)
                    continue
                peers[peer.name] = _measure_peer(peer, kafka, load, share_s, folder)
    by_interval = [
        {
            "interval_s": interval_s,
            "readings_per_s": round(run.readings_per_s),
            "readings_per_cpu_s": round(run.readings / run.cpu_s),
            "results": run.results,
        }
        for interval_s, run in sorted(ours.items())
    ]
    return (
        _result(ours[INTERVAL_S], peers)
        | _beside_everything(ours[INTERVAL_S], everything)
        | {"by_interval": by_interval}
    )


def is_installed(package: str) -> bool:
    """Return whether a peer can be measured here."""
    # A package that is imported already may have no spec (Faust replaces its own module).
    return package in sys.modules or find_spec(package) is not None


def _beside_everything(without: WorkerRun, everything: WorkerRun) -> dict[str, object]:
    """Return what watching sensors, detecting incidents and forecasting leave of the speed."""
    return {
        "everything_on_readings_per_s": round(everything.readings_per_s),
        "everything_on_readings_per_cpu_s": round(everything.readings / everything.cpu_s),
        "everything_on_share": round(everything.readings_per_s / without.readings_per_s, 2),
    }


def _measure_worker(
    load: Load, readings: int, folder: Path, *, intelligence: bool = False
) -> WorkerRun:
    city_file = folder / "city.geojson"
    write_city(load.city, city_file)
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        embedded_kafka(Path(name) / "kafka", partitions=PARTITIONS) as kafka,
    ):
        produced = produce_frames(kafka, load, readings, frame_size=FRAME_READINGS)
        # A tenth of the goal is slow enough to call it stuck.
        timeout_s = 60 + readings / 40_000
        return run_worker(
            kafka,
            produced,
            city_file,
            Path(name),
            timeout_s=timeout_s,
            intelligence=intelligence,
        )


def _measure_peer(
    peer: Peer, kafka: KafkaSettings, load: Load, seconds: float, folder: Path
) -> PeerFigures:
    topic = f"readings.{peer.name}"
    # At least every sensor in two windows, or there would be nothing to mean.
    wanted = max(round(seconds * peer.expected_per_s), 2 * SENSORS)
    readings = produce_json(kafka, load, wanted, topic)
    arguments = [
        f"benchmarks.peers.{peer.module}",
        "--kafka",
        kafka.bootstrap,
        "--topic",
        topic,
        "--readings",
        str(readings),
        "--partitions",
        str(kafka.partitions),
        "--folder",
        str(folder / peer.module),
    ]
    with running(peer.module, arguments, folder) as child:
        printed: list[str] = []

        def has_reported() -> bool:
            # A peer ends right after its report: it must not be found ended before it is read.
            ended = not child.alive()
            text = child.log_file.read_text(encoding="utf-8", errors="replace")
            printed[:] = [line for line in text.splitlines() if line.startswith('{"readings"')]
            if ended and not printed:
                raise ServerUnavailable(
                    f"{peer.name} ended with code {child.returncode}:\n{child.last_words()}"
                )
            return bool(printed)

        wait_until(has_reported, f"{peer.name} to report", timeout_s=60 + 10 * seconds)
    figures = msgspec.json.decode(printed[-1], type=PeerFigures)
    if figures.readings != readings:
        raise ServerUnavailable(f"{peer.name} read {figures.readings:,} of {readings:,} readings")
    return figures


def _result(ours: WorkerRun, peers: dict[str, PeerFigures]) -> dict[str, object]:
    rated = [peers[p.name].readings_per_s for p in PEERS if p.counts_for_ratio and p.name in peers]
    rated_by_cpu = [
        peers[p.name].readings / peers[p.name].cpu_s
        for p in PEERS
        if p.counts_for_ratio and p.name in peers
    ]
    naive = peers.get("naive_faust")
    return {
        "readings_per_s": round(ours.readings_per_s),
        "readings": ours.readings,
        "seconds": round(ours.seconds, 2),
        "cpu_s": round(ours.cpu_s, 2),
        "readings_per_cpu_s": round(ours.readings / ours.cpu_s),
        "results": ours.results,
        "peers": {name: round(peer.readings_per_s) for name, peer in peers.items()},
        "peers_readings_per_cpu_s": {
            name: round(peer.readings / peer.cpu_s) for name, peer in peers.items()
        },
        "ratio_to_best_peer": round(ours.readings_per_s / max(rated), 2) if rated else None,
        "cpu_ratio_to_best_peer": (
            round(ours.readings / ours.cpu_s / max(rated_by_cpu), 2) if rated_by_cpu else None
        ),
        "ratio_to_naive_faust": (
            round(ours.readings_per_s / naive.readings_per_s, 1) if naive else None
        ),
    }
