"""Incident detection over the whole city, one window after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from civicstream.errors import ConfigurationError
from civicstream.events import Incident
from civicstream.local_time import LocalOffset, local_offset
from streams.incidents.california import California8
from streams.incidents.deviate import StandardNormalDeviate
from streams.incidents.neighbours import DetectorPairs, neighbouring_detectors
from streams.incidents.queue_discharge import QueueDischarge
from streams.incidents.snapshot import (
    FORMAT,
    Snapshot,
    array,
    from_bytes,
    network_digest,
    to_bytes,
)
from streams.incidents.tracking import Tracker
from streams.incidents.usual import UsualTraffic
from streams.incidents.view import Latest, Verdict, View
from streams.windows.network import NetworkWindow, RoadNetwork

__all__ = [
    "DEFAULT_INCIDENT_ALGORITHM",
    "INCIDENT_ALGORITHMS",
    "IncidentAlgorithm",
    "IncidentDetector",
]


class IncidentAlgorithm(Protocol):
    """Judges the pairs of neighbouring detectors of one window after the other."""

    name: str
    pair_state: NDArray[np.float32]
    """[p, k], in the order of the view's pairs; zeros for a pair that is new."""

    @property
    def segment_state(self) -> NDArray[np.float32]:
        """[rows, n], written to in place."""
        ...

    @property
    def distrusted(self) -> NDArray[np.bool_]:
        """Detectors [n] to leave out of the pairs, as of the last window."""
        ...

    def judge(self, view: View) -> Verdict: ...

    def settle(self, view: View, held: NDArray[np.bool_]) -> None:
        """Learn from the window; incidents hold the segments ``held`` [n]."""
        ...


INCIDENT_ALGORITHMS: dict[str, Callable[[int], IncidentAlgorithm]] = {
    algorithm.name: algorithm for algorithm in (QueueDischarge, California8, StandardNormalDeviate)
}
"""By name; each takes the number of segments."""

DEFAULT_INCIDENT_ALGORITHM = QueueDischarge.name


class IncidentDetector:
    """The incidents of a city. Same state and same window, same versions."""

    def __init__(
        self,
        network: RoadNetwork,
        algorithm: str | IncidentAlgorithm = DEFAULT_INCIDENT_ALGORITHM,
        local: LocalOffset = local_offset("UTC"),
    ) -> None:
        """Begin knowing nothing; what is usual is learned by the time of day that ``local`` gives.

        Raise ConfigurationError for an unknown algorithm.
        """
        n = len(network)
        if isinstance(algorithm, str):
            if algorithm not in INCIDENT_ALGORITHMS:
                raise ConfigurationError(
                    f"incident algorithm {algorithm!r}: there are {', '.join(INCIDENT_ALGORITHMS)}"
                )
            algorithm = INCIDENT_ALGORITHMS[algorithm](n)
        self.network = network
        self.algorithm = algorithm
        self.latest = Latest(n)
        self.usual = UsualTraffic(n, local)
        self.tracker = Tracker(algorithm.name)
        self.last_end = 0
        self.decisions = 0
        """Pairs judged so far, over all windows of this life."""
        self._paired = np.zeros(n, np.bool_)
        self.pairs = neighbouring_detectors(network, self._paired)

    def step(self, window: NetworkWindow, computed_at: int) -> list[Incident]:
        """Take in the next window [n segments]; return the versions worth publishing.

        A window that is not newer than the last one was taken in before: it returns nothing.
        """
        if window.end <= self.last_end:
            return []
        view = self._view(window)
        verdict = self.algorithm.judge(view)
        self.decisions += int(verdict.judged.sum())
        versions = self.tracker.step(view, verdict, computed_at)
        held = self._held()
        self.algorithm.settle(view, held)
        self.usual.learn(window.start, view.speed, view.flow, view.fresh & ~held)
        self.last_end = window.end
        return versions

    def _view(self, window: NetworkWindow) -> View:
        fresh, reporting = self.latest.take(window)
        self.use_pairs(reporting & ~self.algorithm.distrusted)
        usual_speed, usual_flow = self.usual.at(window.start)
        length = window.end - window.start
        return View(
            network=self.network,
            start=window.start,
            end=window.end,
            elapsed_min=(window.end - (self.last_end or window.end - length)) / 60_000,
            fresh=fresh,
            flow=self.latest.flow.astype(np.float64),
            speed=self.latest.speed.astype(np.float64),
            occupancy=self.latest.occupancy.astype(np.float64),
            usual_speed=usual_speed,
            usual_flow=usual_flow,
            pairs=self.pairs,
        )

    def use_pairs(self, taking_part: NDArray[np.bool_]) -> None:
        """Pair up the segments ``taking_part`` [n]; pairs that stay keep their state."""
        if np.array_equal(taking_part, self._paired):
            return
        pairs, before = neighbouring_detectors(self.network, taking_part), self.pairs
        state = np.zeros((len(pairs), self.algorithm.pair_state.shape[1]), np.float32)
        stayed = _find(pairs, before)
        state[stayed >= 0] = self.algorithm.pair_state[stayed[stayed >= 0]]
        self.algorithm.pair_state = state
        self._paired, self.pairs = taking_part, pairs

    def dump(self) -> bytes:
        """Return everything but the usual traffic: about 80 bytes per segment."""
        latest, usual = self.latest, self.usual
        age_s = np.minimum((self.last_end - latest.at) // 1000, 65_535).astype(np.uint16)
        return to_bytes(
            Snapshot(
                format=FORMAT,
                network=network_digest(self.network),
                algorithm=self.algorithm.name,
                last_end=self.last_end,
                latest=np.stack([latest.flow, latest.speed, latest.occupancy]).tobytes(),
                age_s=age_s.tobytes(),
                paired=np.packbits(self._paired).tobytes(),
                segment_state=self.algorithm.segment_state.tobytes(),
                pair_key=self.pairs.key.tobytes(),
                pair_state=self.algorithm.pair_state.tobytes(),
                incidents=self.tracker.open,
                half_hour=usual.current,
                half_hour_sums=usual.sums.tobytes(),
            )
        )

    def restore(self, dumped: bytes) -> None:
        """Go on from a ``dump``; raise ConfigurationError where it is of something else."""
        snapshot = from_bytes(dumped, self.network, self.algorithm.name)
        n, state = len(self.network), self.algorithm.segment_state
        latest, self.last_end = self.latest, snapshot.last_end
        latest.flow, latest.speed, latest.occupancy = array(snapshot.latest, (3, n))
        age_s = np.frombuffer(snapshot.age_s, np.uint16).astype(np.int64)
        latest.at = np.where(age_s < 65_535, self.last_end - age_s * 1000, 0)
        state[:] = array(snapshot.segment_state, state.shape)
        paired = np.unpackbits(np.frombuffer(snapshot.paired, np.uint8), count=n)
        self.use_pairs(paired.astype(np.bool_))
        key = np.frombuffer(snapshot.pair_key, np.int64)
        if not np.array_equal(key, self.pairs.key):
            raise ConfigurationError(
                f"incident state has {len(key)} pairs of detectors, the city model makes "
                f"{len(self.pairs)}: its roads have changed; begin without it"
            )
        columns = self.algorithm.pair_state.shape[1]
        self.algorithm.pair_state = array(snapshot.pair_state, (len(key), columns))
        self.tracker.open = snapshot.incidents
        self.usual.current = snapshot.half_hour
        self.usual.sums = array(snapshot.half_hour_sums, (4, n))

    def dump_baseline(self) -> dict[str, bytes]:
        """Return the half hours of usual traffic that changed since the last call, by name.

        Five bytes per segment each; empty but once in half an hour.
        """
        return self.usual.dump()

    def restore_baseline(self, dumped: dict[str, bytes]) -> None:
        """Take back what was dumped, of any number of calls; ValueError for other segments."""
        self.usual.restore(dumped)

    def _held(self) -> NDArray[np.bool_]:
        """Return which segments an incident spoils: its pair, what is next to it, its queue."""
        held = np.zeros(len(self.network), np.bool_)
        for segments in self.tracker.surroundings:
            held[segments] = True
        return held


def _find(pairs: DetectorPairs, before: DetectorPairs) -> NDArray[np.intp]:
    """Return where each pair was before, -1 where it was not."""
    if not len(before):
        return np.full(len(pairs), -1, np.intp)
    at = np.searchsorted(before.key, pairs.key).clip(max=len(before) - 1)
    return np.where(before.key[at] == pairs.key, at, -1)
