"""Our own detector: sequential evidence that a place lets less traffic through than came to it.

An incident takes capacity. Downstream of it the flow falls at once, at two detectors one after
the other, while traffic there stays fluent; upstream the flow goes on until the queue arrives and
speed breaks down. No single broken detector can look like that, nor does the daily queue: that
one forms when more comes, and discharges as much as before. Each detector's part is the
logarithm of a likelihood ratio, limited so that none decides alone; a pair sums them up from
window to window (Page's CUSUM). Formulas: docs/traffic.md.

A worked example, by the functions below. Of 5,000 veh/h only 3,000 still pass the two detectors
downstream: 0.4 of the flow is lost, and the mean of two counts of a minute is known to a variance
of 0.006. Upstream, traffic flows as before. The first minute says as much as a single minute may,
and that is no alarm yet:

>>> s = QueueDischargeSettings()
>>> nats = log_likelihood_ratio(0.4, shift=s.lost_share, variance=0.006)
>>> round(nats, 2), s.flow_limit_per_window
(12.96, 4.8)
>>> flow = float(accumulated(0.0, s.flow_limit_per_window, s))
>>> decision(flow, 0.0, still_lost=True, settings=s)
Decision(suspected=False, confirmed=False, holds=True)

In the second minute as little passes, and the queue has reached the detector upstream: 12 km/h
instead of 95, known to a tenth at either end of the pair. Flow and speed together prove an
incident; the speed alone, a queue without lost flow, would be the daily one:

>>> slower = np.log(95 / 12)
>>> nats = log_likelihood_ratio(slower, shift=s.slowing, variance=2 * 0.1**2)
>>> round(float(nats), 1), s.speed_limit_per_window
(37.8, 3.5)
>>> flow = float(accumulated(flow, s.flow_limit_per_window, s))
>>> speed = float(accumulated(0.0, s.speed_limit_per_window, s))
>>> round(flow, 2), speed
(9.12, 3.5)
>>> decision(flow, speed, still_lost=True, settings=s)
Decision(suspected=True, confirmed=True, holds=True)
>>> decision(0.0, speed, still_lost=True, settings=s)
Decision(suspected=False, confirmed=False, holds=False)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.incidents.capacity import nominal_capacity_veh_h
from streams.incidents.neighbours import DetectorPairs
from streams.incidents.recent import RecentTraffic
from streams.incidents.view import Verdict, View

__all__ = [
    "Decision",
    "QueueDischarge",
    "QueueDischargeSettings",
    "accumulated",
    "decision",
    "log_likelihood_ratio",
]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class QueueDischargeSettings:
    """What is looked for, and how much evidence is enough. Evidence is in nats."""

    lost_share: float = 1 / 3
    """The loss of flow or speed to find: incidents count from a third of the capacity on."""

    # How much one window can say at most.
    flow_limit_per_window: float = 4.8
    """One wild reading decides nothing."""
    speed_limit_per_window: float = 3.5
    weak_discharge_limit_per_window: float = 3.5
    """Capacities are known to a tenth only."""
    refuted: float = -1.0
    """What a detector says at most, in a window that speaks against an incident otherwise."""

    # How the windows add up.
    sum_kept: float = 0.9
    """Of each sum from one window to the next: evidence of long ago was about something else."""
    sum_limit: float = 12.0
    """Where each sum is cut, so that the end is found about as fast as the beginning."""
    speed_limit_one_detector: float = 7.0
    """The sum of the speed counts up to this until the next detector upstream is slow too."""
    speed_limit_full_road: float = 4.1
    """The same where the road was full: there a queue needs no incident to form."""

    # What an alarm needs.
    suspected_total: float = 5.0
    confirmed_total: float = 9.0
    """More than a full road's speed and one window of flow say together: what disturbs dense
    traffic for less than a minute is no incident."""
    alarm_flow: float = 3.5
    """What the flow must say for an incident to be suspected or confirmed."""
    confirmed_speed: float = 3.4
    """What the speed must say for an incident to be confirmed."""
    lasting_flow: float = 7.0
    """Flow that was lost for some windows needs less of the speed:"""
    lasting_speed: float = 3.0
    """one window that was clearly slow; on a small road that stands still none may pass again."""
    still_lost: float = 0.0
    """What the flow must say in the window that confirms: a wave is over before it is proven."""
    holding_flow: float = 2.0
    """What the flow must say to keep an incident open; slow traffic alone may be another queue."""

    # What is not believed.
    most_growth: float = 0.1
    """More traffic upstream than before explains a missing increase downstream up to here: beyond,
    the queue of something else is dissolving, or what was before is long ago."""
    unbalanced: float = -1.0
    """Counts of a queue that disagree so much with those of its head are not believed."""
    slow_again: float = 6.0
    """Speed evidence of two windows: then a slow detector need not show lost flow as well."""

    # Shares by which traffic is called slow or full.
    slower_upstream: float = 0.8
    """A queue upstream runs slower than this share of the traffic downstream."""
    full_road: float = 0.95
    """Of the highest flow seen, from where traffic breaks down by itself sooner or later."""

    @property
    def slowing(self) -> np.float64:
        """The loss of speed to find, as ln(speed before / speed now).

        Double, so that the variances kept as floats are divided in double precision.
        """
        return np.float64(-np.log(1 - self.lost_share))


_DISCHARGE, _CAPACITY_ERROR = 0.93, 0.12
"""A queue discharges about 7 % below capacity (HCM 2010); what is known of capacities is rough."""
_LEAST_CAPACITY = 0.8
"""Of the nominal capacity: below that, flows seen so far say nothing about what is possible."""
_CRAWL = 0.1
"""Differences of less than this share of free flow are stop and go."""
_DAYS_DIFFER = 0.35
"""Standard deviation of the logarithm of speed at the same time from day to day."""
_WITNESSES_DIFFER = 0.2
"""So much more than the weaker of two witnesses may be believed."""
_RAMPS = 1.5
"""So much more may pass downstream of an on-ramp."""
_CREEPING = 0.3
"""Below this share of free flow downstream the queue does not end there, it only moves on."""
_QUEUED = 0.6
"""Below this share of free flow, and of the traffic downstream, traffic is queued."""


# --- the calculus of evidence, for numbers and arrays alike


class Decision(NamedTuple):
    """What the evidence of a pair is enough for: bool or bool[p]."""

    suspected: Any
    confirmed: Any
    holds: Any
    """Enough to keep open an incident that is."""


def log_likelihood_ratio(value: Any, shift: Any, variance: Any) -> Any:
    """Return the nats by which ``value`` speaks for a mean of ``shift`` and against one of 0.

    Of a normal distribution with ``variance``: shift / variance * (value - shift / 2).
    """
    return shift / variance * (value - shift / 2)


def accumulated(before: Any, nats: Any, settings: QueueDischargeSettings) -> Any:
    """Return Page's sum after a window that said ``nats``; it stays where they are NaN."""
    more = np.where(np.isnan(nats), before, settings.sum_kept * before + nats)
    return np.clip(more, 0.0, settings.sum_limit)


def decision(flow: Any, speed: Any, still_lost: Any, settings: QueueDischargeSettings) -> Decision:
    """Return what the sums of ``flow`` and ``speed`` are enough for.

    ``still_lost``: whether flow is lost in this window too. An incident is confirmed when both
    sums prove it, or when flow has been lost for long and traffic was clearly slow once.
    """
    s, total = settings, flow + speed
    proven = (flow >= s.alarm_flow) & (speed >= s.confirmed_speed)
    lasting = (flow >= s.lasting_flow) & (speed >= s.lasting_speed)
    enough = (total >= s.confirmed_total) & proven
    return Decision(
        suspected=(total >= s.suspected_total) & (flow >= s.alarm_flow),
        confirmed=still_lost & (enough | lasting),
        holds=flow >= s.holding_flow,
    )


# --- the pairs


class _Detectors(NamedTuple):
    """The detectors in and around each pair: segments [p], in the order of driving."""

    above: Indices
    """The next one upstream of the pair; ``upstream`` where there is none."""
    upstream: Indices
    downstream: Indices
    below: Indices
    """The next one downstream of the pair; ``downstream`` where there is none."""

    @classmethod
    def of(cls, pairs: DetectorPairs) -> _Detectors:
        u, d = pairs.upstream, pairs.downstream
        return cls(
            above=np.where(pairs.previous_pair >= 0, u[pairs.previous_pair], u),
            upstream=u,
            downstream=d,
            below=np.where(pairs.next_pair >= 0, d[pairs.next_pair], d),
        )


class _Sums:
    """The columns of the pairs' state [p, 5]; writing to one writes to the state."""

    def __init__(self, state: NDArray[np.float32]) -> None:
        self.lost_flow = state[:, 0]
        self.weak_discharge = state[:, 1]
        self.speed = state[:, 2]
        self.flow_before = state[:, 3]
        """What passed the downstream detector before the evidence began [veh/h]."""
        self.age_min = state[:, 4]
        """Of the evidence."""

    def add(self, nats: _Nats, settings: QueueDischargeSettings) -> None:
        self.lost_flow[:] = accumulated(self.lost_flow, nats.lost_flow, settings)
        self.weak_discharge[:] = accumulated(self.weak_discharge, nats.weak_discharge, settings)
        self.speed[:] = accumulated(self.speed, nats.speed, settings)

    @property
    def some(self) -> Mask:
        """Return [p] where there is any evidence."""
        return np.asarray((self.lost_flow > 0) | (self.weak_discharge > 0) | (self.speed > 0))

    @property
    def flow(self) -> Floats:
        """Return [p] what is the stronger: that flow is lost, or that a queue discharges weakly."""
        stronger: Floats = np.maximum(self.lost_flow, self.weak_discharge).astype(np.float64)
        return stronger


class _Nats(NamedTuple):
    """What one window says of each pair: nats [p], NaN where it says nothing."""

    lost_flow: Floats
    weak_discharge: Floats
    speed: Floats

    def without(self, pairs: Mask) -> _Nats:
        return _Nats(*(np.where(pairs, np.nan, nats) for nats in self))

    @property
    def of_something(self) -> Mask:
        return ~np.asarray(np.isnan(np.stack(self)).all(axis=0))


class QueueDischarge:
    """The evidence of all pairs."""

    name = "queue_discharge"

    def __init__(self, segments: int, settings: QueueDischargeSettings | None = None) -> None:
        self.settings = settings or QueueDischargeSettings()
        self.recent = RecentTraffic(segments)
        self.pair_state = np.zeros((0, 5), np.float32)
        """Evidence of lost flow, weak discharge and speed; the flow downstream before; its age."""

    @property
    def segment_state(self) -> NDArray[np.float32]:
        return self.recent.state

    @property
    def distrusted(self) -> Mask:
        """Detectors that are broken by their own reports: their neighbours take their place."""
        return self.recent.distrusted

    def judge(self, view: View) -> Verdict:
        """Return where the evidence stands after this window."""
        s, sums, at = self.settings, _Sums(self.pair_state), _Detectors.of(view.pairs)
        nats = self._evidence(view, at)
        had_evidence = sums.some
        # Where nothing was seen, nothing fades: a full stop leaves no vehicle to have a speed.
        sums.add(nats, s)
        flow, speed = sums.flow, self._believed_speed(view, at)
        total = flow + speed
        begins = ~had_evidence & (total > 0)
        sums.flow_before[begins] = self.recent.flow[at.downstream[begins]]
        sums.age_min[:] = np.where(total > 0, sums.age_min + view.elapsed_min, 0.0)
        still_lost = np.fmax(nats.lost_flow, nats.weak_discharge) > s.still_lost
        suspected, confirmed, holds = decision(flow, speed, still_lost, s)
        return Verdict(
            suspected=suspected,
            confirmed=confirmed,
            holds=holds,
            judged=view.fresh[at.upstream] & view.fresh[at.downstream] & nats.of_something,
            confidence=1 / (1 + np.exp(s.suspected_total - total)),
            rank=total,
            age_min=sums.age_min.astype(np.float64),
            flow_before=sums.flow_before.astype(np.float64),
        )

    def _believed_speed(self, view: View, at: _Detectors) -> Floats:
        """Return [p] the sum of the speed, as far as it counts."""
        s, speed = self.settings, _Sums(self.pair_state).speed.astype(np.float64)
        two_slow = self._next_is_slow(view, at)
        speed = np.where(two_slow, speed, np.minimum(speed, s.speed_limit_one_detector))
        full = self._was_full(view, at)
        believed: Floats = np.where(full, np.minimum(speed, s.speed_limit_full_road), speed)
        return believed

    def _evidence(self, view: View, at: _Detectors) -> _Nats:
        """Return what this window says: of lost flow, of weak discharge and of the speed."""
        s, (_, u, d, _) = self.settings, at
        slower, slower_variance = self.recent.slowing(view)
        share = view.speed / view.network.free_flow_kmh
        # In a jam all crawl: a little less slow is no end of the queue.
        head = (share[u] < s.slower_upstream * share[d]) & (share[d] - share[u] > _CRAWL)
        variance = slower_variance[u] + slower_variance[d]
        of_speed = log_likelihood_ratio(slower[u] - slower[d], s.slowing, variance)
        of_speed = np.where(head, of_speed, np.minimum(of_speed, s.refuted))
        of_flow = self._lost_flow(view, at, slower[u])
        refuted = ~head & (slower[d] > s.slowing)
        of_flow = np.where(refuted, np.minimum(of_flow, s.refuted), of_flow)
        uncounted = ~self.recent.counted(view)[d]
        of_flow = np.where(uncounted, self._unusual(view, head), of_flow)
        return _Nats(
            lost_flow=np.clip(of_flow, -s.flow_limit_per_window, s.flow_limit_per_window),
            weak_discharge=self._weak_discharge(view, at),
            speed=np.clip(of_speed, -s.speed_limit_per_window, s.speed_limit_per_window),
        ).without(_contradicted(view, at))

    def _lost_flow(self, view: View, at: _Detectors, slowing: Floats) -> Floats:
        """Return [p] the nats for a third of the flow being lost between the detectors."""
        s, (above, u, d, below) = self.settings, at
        loss, variance = self.recent.flow_loss(view)
        # The weaker of two witnesses counts: one that miscounts does not make an incident.
        lost, noise = _mean_loss(loss, variance, [d, below])
        second = np.where(np.isnan(loss[below]), loss[d], loss[below])
        lost = np.minimum(lost, np.minimum(loss[d], second) + _WITNESSES_DIFFER)
        # While the queue has not come, less traffic upstream explains less downstream.
        coming = slowing < s.lost_share / 2
        less, less_noise = _mean_loss(loss, variance, [u, above])
        lost = np.where(coming, lost - np.maximum(less, -s.most_growth), lost)
        noise = np.where(coming, noise + less_noise, noise)
        nats: Floats = log_likelihood_ratio(lost, s.lost_share, noise)
        # In a queue as many are counted as pass its head. Who counts less and says that it is
        # slow, while as many pass further down as before, is broken.
        broken = ~coming & (self._balance(loss, variance, at) < s.unbalanced)
        believed: Floats = np.where(broken, np.minimum(nats, s.refuted), nats)
        return believed

    def _balance(self, loss: Floats, variance: Floats, at: _Detectors) -> Floats:
        """Return [p] the nats for the queue counting as many as pass its head, not a third less."""
        _, u, d, _ = at
        balance: Floats = -log_likelihood_ratio(
            loss[u] - loss[d], self.settings.lost_share, variance[u] + variance[d]
        )
        return balance

    def _unusual(self, view: View, head: Mask) -> Floats:
        """Return [p] the nats for a queue that is not there at this time on other days.

        It stands in for the flow where detectors do not count: flow tells the daily queue from
        others, and without it only the days before do. NaN until they are known.
        """
        s, u = self.settings, view.pairs.upstream
        slower = np.log(view.usual_speed[u] / np.maximum(view.speed[u], 1.0))
        nats = log_likelihood_ratio(slower, s.slowing, _DAYS_DIFFER**2)
        nats = np.clip(nats, -s.speed_limit_per_window, 1.0)
        unusual: Floats = np.where(head | np.isnan(nats), nats, np.minimum(nats, s.refuted))
        return unusual

    def _weak_discharge(self, view: View, at: _Detectors) -> Floats:
        """Return [p] the nats for a queue that discharges a third less than a queue can.

        Where no queue upstream meets fluent traffic downstream -1 if traffic flows there, else 0.
        """
        s, (_, u, d, below) = self.settings, at
        capacity = np.fmin(nominal_capacity_veh_h(view.network)[u], self._capacity_seen(view)[d])
        second = np.where(np.isnan(view.flow[below]), view.flow[d], view.flow[below])
        flow = (view.flow[d] + second) / 2
        hours = (view.end - view.start) / 3_600_000
        share = view.speed / view.network.free_flow_kmh
        queue = (share[u] < _QUEUED) & (share[u] < _QUEUED * share[d]) & (share[d] > _CREEPING)
        usual, weak = _DISCHARGE * capacity, _DISCHARGE * (1 - s.lost_share) * capacity
        noise = (_CAPACITY_ERROR * capacity) ** 2 + flow / hours / np.where(below == d, 1, 2)
        nats = (usual - weak) / noise * ((usual + weak) / 2 - flow)
        nats = np.minimum(nats, s.weak_discharge_limit_per_window)
        one_slow = np.minimum(nats, self._limit_of_one_slow(view, at))
        nats = np.where(self._next_is_slow(view, at), nats, one_slow)
        no_queue = np.where(share[u] >= _QUEUED, s.refuted, 0.0)
        said = np.where(queue, np.maximum(nats, -s.flow_limit_per_window), no_queue)
        counted: Floats = np.where(self.recent.counted(view)[d], said, 0.0)
        return counted

    def _limit_of_one_slow(self, view: View, at: _Detectors) -> Floats:
        """Return [p] what weak discharge may say while the next detector upstream is not slow.

        One slow detector is no queue yet: it has to count no less than passes further down, and
        there something has to be lost, until it has been slow for two windows.
        """
        s, (_, _, d, below) = self.settings, at
        loss, variance = self.recent.flow_loss(view)
        lost = (loss[d] + np.where(np.isnan(loss[below]), loss[d], loss[below])) / 2
        half_lost = log_likelihood_ratio(lost, s.lost_share / 2, variance[d])
        again = _Sums(self.pair_state).speed >= s.slow_again
        limit: Floats = np.minimum(
            2 * self._balance(loss, variance, at),
            np.where(again, s.weak_discharge_limit_per_window, half_lost),
        )
        return limit

    def _capacity_seen(self, view: View) -> Floats:
        """Return [n] the highest flow seen [veh/h], within what class and lanes allow."""
        most = nominal_capacity_veh_h(view.network)
        seen: Floats = np.clip(self.recent.peak, _LEAST_CAPACITY * most, most)
        return seen

    def _was_full(self, view: View, at: _Detectors) -> Mask:
        """Return [p] where about as much came as the road can carry.

        Capacity is random: the nearer the flow is to it, the likelier a breakdown (Brilon,
        Geistefeldt and Regler, 2005).
        """
        _, u, d, _ = at
        seen = self._capacity_seen(view)
        before = np.fmax(self.recent.flow[d], self.recent.flow[u])
        full: Mask = before > self.settings.full_road * np.fmin(seen[u], seen[d])
        return full

    def _next_is_slow(self, view: View, at: _Detectors) -> Mask:
        """Return [p] where the next detector upstream of the pair is slow too."""
        share = view.speed / view.network.free_flow_kmh
        slow = share[at.above] < self.settings.slower_upstream * share[at.downstream]
        next_is_slow: Mask = (view.pairs.previous_pair >= 0) & slow
        return next_is_slow

    def settle(self, view: View, held: Mask) -> None:
        """Learn from this window what is usual now, hardly where an incident ``held`` [n]."""
        s, pairs, sums = self.settings, view.pairs, _Sums(self.pair_state)
        doubtful = held.copy()
        # A queue without a loss of flow is the daily one: that is usual soon.
        flow = sums.flow
        evidence = (flow >= s.alarm_flow) & (flow + sums.speed >= s.suspected_total)
        doubtful[pairs.upstream[evidence]] = True
        doubtful[pairs.downstream[evidence]] = True
        following = pairs.next_pair[evidence]
        doubtful[pairs.downstream[following[following >= 0]]] = True
        self.recent.learn(view, doubtful)


def _contradicted(view: View, at: _Detectors) -> Mask:
    """Return [p] the pairs whose counts cannot be true: vehicles do not come from nowhere.

    Downstream far more than upstream, by more than ramps bring; or a detector in the middle
    that counts twice what both of its neighbours do.
    """
    _, u, d, below = at
    chance = np.sqrt(view.flow * 3_600_000 / (view.end - view.start))
    surplus = 2 * np.hypot(chance[u], chance[d])
    more = view.flow[d] > _RAMPS * view.flow[u] + surplus
    alone = (below == d) | (view.flow[d] > _RAMPS * view.flow[below] - surplus)
    contradicted: Mask = more & alone
    return contradicted


def _mean_loss(loss: Floats, variance: Floats, detectors: list[Indices]) -> tuple[Floats, Floats]:
    """Return [p] the mean loss over distinct detectors, and its variance; NaN: the first's is."""
    total, noise, count = loss[detectors[0]], variance[detectors[0]], 1.0
    for before, detector in pairwise(detectors):
        counts = (detector != before) & ~np.isnan(loss[detector])
        total = total + np.where(counts, loss[detector], 0.0)
        noise = noise + np.where(counts, variance[detector], 0.0)
        count = count + counts
    return total / count, noise / count**2
