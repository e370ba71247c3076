"""From the verdicts on pairs to incidents: one per blockage, with a life of its own.

Pairs in alarm belong to the incident whose surroundings they touch: its pair, the detectors next
to it, and the queue upstream as far as it has grown. So a growing queue stays one incident, and a
detector that flaps does not open ten: an incident stays open for some minutes after its evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from civicstream.events import Incident
from streams.incidents.figures import queue_upstream, slow_segments, update_figures
from streams.incidents.open_incident import OpenIncident
from streams.incidents.view import Verdict, View

__all__ = ["Tracker"]

_NEARBY = 1
"""Detectors upstream of an incident and its queue that may show it too."""

_HOLD_MS = 10 * 60_000
"""How long a confirmed incident is open after its last evidence."""
_QUIET_MS = 2 * 60_000
"""A confirmed incident without evidence for this time is clearing."""
_FADES_MS = 2 * 60_000
"""A suspicion that gets no more evidence is given up after this."""
_SETTLES_MS = 4 * 60_000
"""Until then the pair with the most evidence is taken for the place; later it only wanders off."""


@dataclass
class _Case:
    """An incident in this window: its surroundings, and the pairs in alarm that belong to it."""

    incident: OpenIncident
    queue: list[int]
    around: set[int]
    pairs: list[int] = field(default_factory=list)
    held: bool = False
    """Whether its evidence, too weak by now to begin with, has not faded."""

    def takes(self, ends: set[int], verdict: Verdict, pair: int) -> bool:
        """Whether a pair in alarm belongs to it; a mere suspicion does not take proof away."""
        if self.incident.state == "suspected" and verdict.confirmed[pair]:
            return bool(ends & {self.incident.upstream, self.incident.downstream})
        return bool(self.around & ends)


class Tracker:
    """The open incidents."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self.open: list[OpenIncident] = []
        self.surroundings: list[list[int]] = []
        """Segments that open incidents spoil, as of the last window."""

    def step(self, view: View, verdict: Verdict, computed_at: int) -> list[Incident]:
        """Take in the verdicts of a window; return the versions worth publishing."""
        slow = slow_segments(view)
        cases = self._assign(view, verdict, slow)
        versions = []
        for case in cases:
            incident = case.incident
            _move_on(case, view, verdict)
            update_figures(incident, view, case.queue, slow)
            if incident.worth_a_version(view.end):
                segment = _blocked_segment(incident)
                versions.append(
                    incident.publish(view.network, self._algorithm, view.end, computed_at, segment)
                )
        self.open = [c.incident for c in cases if c.incident.state != "cleared"]
        self.surroundings = [
            sorted(c.around) for c in cases if c.incident.state in {"confirmed", "clearing"}
        ]
        return versions

    def _assign(self, view: View, verdict: Verdict, slow: np.ndarray) -> list[_Case]:
        cases = [_case(incident, view, slow) for incident in self.open]
        alarmed = np.flatnonzero(verdict.suspected)
        # The strongest first: what opens an incident stands nearest to its cause.
        for pair in alarmed[np.argsort(-verdict.rank[alarmed], kind="stable")].tolist():
            ends = {int(view.pairs.upstream[pair]), int(view.pairs.downstream[pair])}
            owner = next((case for case in cases if case.takes(ends, verdict, pair)), None)
            if owner is None:
                if not verdict.judged[pair]:
                    continue
                owner = _case(_opened(view, verdict, pair), view, slow)
                cases.append(owner)
            owner.pairs.append(pair)
        for pair in np.flatnonzero(verdict.holds & ~verdict.suspected).tolist():
            here = (int(view.pairs.upstream[pair]), int(view.pairs.downstream[pair]))
            for case in cases:
                case.held |= bool({case.incident.upstream, case.incident.downstream} & set(here))
        return cases


def _case(incident: OpenIncident, view: View, slow: np.ndarray) -> _Case:
    queue = queue_upstream(view, incident, slow)
    above = view.pairs.reach([queue[-1]], upstream=True, limit=_NEARBY)
    return _Case(incident, queue, {*queue, *above, incident.downstream})


def _opened(view: View, verdict: Verdict, pair: int) -> OpenIncident:
    u, d = int(view.pairs.upstream[pair]), int(view.pairs.downstream[pair])
    window_ms = view.end - view.start
    began = view.end - round(max(float(verdict.age_min[pair]), 1.0) * 60_000)
    before = float(verdict.flow_before[pair])
    return OpenIncident(
        id=f"{view.network.ids[u]}/{view.end}",
        upstream=u,
        downstream=d,
        first_evidence=began + window_ms,
        last_evidence=view.end,
        estimated_start=began + window_ms // 2,
        flow_before=None if np.isnan(before) else before,
    )


def _move_on(case: _Case, view: View, verdict: Verdict) -> None:
    """Move an incident's state on by this window."""
    end, incident, pairs = view.end, case.incident, case.pairs
    if pairs:
        _take_evidence(incident, view, verdict, pairs)
        if any(verdict.confirmed[pair] for pair in pairs):
            incident.confirmed_at = incident.confirmed_at or end
            incident.state = "confirmed"
    elif not (case.held and incident.confirmed_at):
        incident.quiet_since = incident.quiet_since or end
    quiet = end - incident.quiet_since if incident.quiet_since else 0
    if incident.state == "confirmed" and quiet >= _QUIET_MS:
        incident.state = "clearing"
    elif incident.state != "confirmed" and quiet >= (
        _HOLD_MS if incident.confirmed_at else _FADES_MS
    ):
        incident.state = "cleared"


def _take_evidence(incident: OpenIncident, view: View, verdict: Verdict, pairs: list[int]) -> None:
    best = pairs[0]
    incident.confidence = float(verdict.confidence[best])
    incident.last_evidence, incident.quiet_since = view.end, 0
    if view.end - incident.first_evidence <= _SETTLES_MS:
        incident.upstream = int(view.pairs.upstream[best])
        incident.downstream = int(view.pairs.downstream[best])


def _blocked_segment(incident: OpenIncident) -> int:
    return incident.upstream if incident.position < 0.5 else incident.downstream
