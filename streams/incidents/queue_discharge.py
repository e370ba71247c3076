"""Our own detector: sequential evidence that a place lets less traffic through than came to it.

An incident takes capacity. Downstream of it the flow falls at once, at two detectors one after
the other, while traffic there stays fluent; upstream the flow goes on until the queue arrives and
speed breaks down. No single broken detector can look like that, nor does the daily queue: that
one forms when more comes, and discharges as much as before. Each detector's part is the
logarithm of a likelihood ratio, limited so that none decides alone; a pair sums them up from
window to window (Page's CUSUM). Formulas: docs/traffic.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streams.incidents.capacity import nominal_capacity_veh_h
from streams.incidents.recent import RecentTraffic
from streams.incidents.view import Verdict, View

__all__ = ["QueueDischarge", "QueueDischargeSettings"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class QueueDischargeSettings:
    """Evidence is in nats."""

    lost_share: float = 1 / 3
    """The loss of flow or speed to find: incidents count from a third of the capacity on."""
    most_of_flow: float = 4.8
    """What the flow can say in one window at most: one wild reading decides nothing."""
    most_of_speed: float = 3.5
    """The same of the speed."""
    one_slow: float = 7.0
    """What the speed of one detector can say at most in all, until the next one is slow too."""
    speed_when_full: float = 4.1
    """The same where the road was full: there a queue needs no incident to form."""
    full: float = 0.95
    """Of the highest flow seen, from where traffic breaks down by itself sooner or later."""
    most_growth: float = 0.1
    """More traffic upstream than before explains a missing increase downstream up to here: beyond,
    the queue of something else is dissolving, or what was before is long ago."""
    suspect: float = 5.0
    confirm: float = 9.0
    """More than a full road's speed and one window of flow say together: what disturbs dense
    traffic for less than a minute is no incident."""
    least: float = 3.5
    """What the flow must say for an incident to be suspected or confirmed."""
    least_speed: float = 3.4
    """What the speed must say for an incident to be confirmed."""
    unbalanced: float = -1.0
    """Counts of a queue that disagree so much with those of its head are not believed."""
    lost_now: float = 0.0
    """What the flow must say in the window that confirms: a wave is over before it is proven."""
    hold: float = 2.0
    """What the flow must say to keep an incident open; slow traffic alone may be another queue."""
    lasting_loss: float = 7.0
    """Flow that was lost for some windows needs less of the speed:"""
    once_slow: float = 3.0
    """one window that was clearly slow; on a small road that stands still none may pass again."""
    most: float = 12.0
    """Where each sum is cut, so that the end is found about as fast as the beginning."""
    kept: float = 0.9
    """Of each sum from one window to the next: evidence of long ago was about something else."""
    most_of_discharge: float = 3.5
    """What a weak discharge says in one window at most: capacities are known to a tenth only."""
    slow_again: float = 6.0
    """Speed evidence of two windows: then a slow detector need not show lost flow as well."""
    contrast: float = 0.8
    """A queue upstream runs slower than this share of the traffic downstream."""


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

_LOSS, _WEAK, _SPEED, _FLOW_BEFORE, _AGE = range(5)
_SUMS = slice(_LOSS, _FLOW_BEFORE)


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
        s, state = self.settings, self.pair_state
        before = state[:, _SUMS].sum(axis=1)
        said = self._evidence(view)
        heard = view.fresh[view.pairs.upstream] & view.fresh[view.pairs.downstream]
        heard &= ~np.isnan(said).all(axis=0)
        # Where nothing was heard, nothing fades: a full stop leaves no vehicle to have a speed.
        sums = state[:, _SUMS].T
        more = np.where(np.isnan(said), sums, s.kept * sums + said)
        state[:, _SUMS] = np.clip(more.T, 0.0, s.most)
        flow = self._flow_evidence()
        speed = state[:, _SPEED].astype(np.float64)
        longer = self._longer(view)
        speed = np.where(longer, speed, np.minimum(speed, s.one_slow))
        speed = np.where(self._full(view), np.minimum(speed, s.speed_when_full), speed)
        total = flow + speed
        begins = (before <= 0) & (total > 0)
        state[begins, _FLOW_BEFORE] = self.recent.flow[view.pairs.downstream[begins]]
        state[:, _AGE] = np.where(total > 0, state[:, _AGE] + view.elapsed_min, 0.0)
        enough = total >= s.confirm
        lost_now = np.fmax(said[_LOSS], said[_WEAK]) > s.lost_now
        proven = enough & (flow >= s.least) & (speed >= s.least_speed)
        lasting = (flow >= s.lasting_loss) & (speed >= s.once_slow)
        return Verdict(
            suspected=(total >= s.suspect) & (flow >= s.least),
            confirmed=lost_now & (proven | lasting),
            holds=flow >= s.hold,
            judged=heard,
            confidence=1 / (1 + np.exp(s.suspect - total)),
            rank=total,
            age_min=state[:, _AGE].astype(np.float64),
            flow_before=state[:, _FLOW_BEFORE].astype(np.float64),
        )

    def _flow_evidence(self) -> Floats:
        """Return [p] what is the stronger: that flow is lost, or that a queue discharges weakly."""
        stronger: Floats = self.pair_state[:, [_LOSS, _WEAK]].max(axis=1).astype(np.float64)
        return stronger

    def _evidence(self, view: View) -> Floats:
        """Return [3, p] this window's nats: lost flow, weak discharge, speed; NaN: unknown."""
        s, pairs = self.settings, view.pairs
        u, d = pairs.upstream, pairs.downstream
        further = np.where(pairs.next_pair >= 0, d[pairs.next_pair], d)
        slower, slower_variance = self.recent.slowing(view)
        share = view.speed / view.network.free_flow_kmh
        # In a jam all crawl: a little less slow is no end of the queue.
        head = (share[u] < s.contrast * share[d]) & (share[d] - share[u] > _CRAWL)
        shift = -np.log(1 - s.lost_share)
        change = slower[u] - slower[d]
        of_speed = shift / (slower_variance[u] + slower_variance[d]) * (change - shift / 2)
        of_speed = np.where(head, of_speed, np.minimum(of_speed, -1.0))
        of_flow = self._lost_flow(view, further, slower[u])
        of_flow = np.where(~head & (slower[d] > shift), np.minimum(of_flow, -1.0), of_flow)
        uncounted = ~self.recent.counted(view)[d]
        of_flow = np.where(uncounted, self._unusual(view, head), of_flow)
        said = np.stack(
            [
                np.clip(of_flow, -s.most_of_flow, s.most_of_flow),
                self._weak_discharge(view, further),
                np.clip(of_speed, -s.most_of_speed, s.most_of_speed),
            ]
        )
        said[:, self._contradicted(view, further)] = np.nan
        return said

    def _lost_flow(self, view: View, further: Indices, slowing: Floats) -> Floats:
        """Return [p] the nats for a third of the flow being lost between the detectors."""
        s, (u, d), pairs = self.settings, (view.pairs.upstream, view.pairs.downstream), view.pairs
        loss, variance = self.recent.flow_loss(view)
        # The weaker of two witnesses counts: one that miscounts does not make an incident.
        lost, noise = _mean_loss(loss, variance, [d, further])
        second = np.where(np.isnan(loss[further]), loss[d], loss[further])
        lost = np.minimum(lost, np.minimum(loss[d], second) + _WITNESSES_DIFFER)
        # While the queue has not come, less traffic upstream explains less downstream.
        coming = slowing < s.lost_share / 2
        above = np.where(pairs.previous_pair >= 0, u[pairs.previous_pair], u)
        less, less_noise = _mean_loss(loss, variance, [u, above])
        lost = np.where(coming, lost - np.maximum(less, -s.most_growth), lost)
        noise = np.where(coming, noise + less_noise, noise)
        nats: Floats = s.lost_share / noise * (lost - s.lost_share / 2)
        # In a queue as many are counted as pass its head. Who counts less and says that it is
        # slow, while as many pass further down as before, is broken.
        balance = (
            s.lost_share / (variance[u] + variance[d]) * (s.lost_share / 2 - loss[u] + loss[d])
        )
        broken = ~coming & (balance < s.unbalanced)
        believed: Floats = np.where(broken, np.minimum(nats, -1.0), nats)
        return believed

    def _unusual(self, view: View, head: Mask) -> Floats:
        """Return [p] the nats for a queue that is not there at this time on other days.

        It stands in for the flow where detectors do not count: flow tells the daily queue from
        others, and without it only the days before do. NaN until they are known.
        """
        s, u = self.settings, view.pairs.upstream
        shift = -np.log(1 - s.lost_share)
        slower = np.log(view.usual_speed[u] / np.maximum(view.speed[u], 1.0))
        nats = np.clip(shift / _DAYS_DIFFER**2 * (slower - shift / 2), -s.most_of_speed, 1.0)
        unusual: Floats = np.where(head | np.isnan(nats), nats, np.minimum(nats, -1.0))
        return unusual

    def _weak_discharge(self, view: View, further: Indices) -> Floats:
        """Return [p] the nats for a queue that discharges a third less than a queue can.

        Where no queue upstream meets fluent traffic downstream -1 if traffic flows there, else 0.
        """
        s, (u, d) = self.settings, (view.pairs.upstream, view.pairs.downstream)
        most = nominal_capacity_veh_h(view.network)
        seen = np.clip(self.recent.peak, _LEAST_CAPACITY * most, most)
        capacity = np.fmin(most[u], seen[d])
        second = np.where(np.isnan(view.flow[further]), view.flow[d], view.flow[further])
        flow = (view.flow[d] + second) / 2
        hours = (view.end - view.start) / 3_600_000
        share = view.speed / view.network.free_flow_kmh
        queue = (share[u] < _QUEUED) & (share[u] < _QUEUED * share[d]) & (share[d] > _CREEPING)
        fluent = share[u] >= _QUEUED
        usual, weak = _DISCHARGE * capacity, _DISCHARGE * (1 - s.lost_share) * capacity
        noise = (_CAPACITY_ERROR * capacity) ** 2 + flow / hours / np.where(further == d, 1, 2)
        nats = (usual - weak) / noise * ((usual + weak) / 2 - flow)
        nats = np.minimum(nats, s.most_of_discharge)
        nats = np.where(self._longer(view), nats, np.minimum(nats, self._one_slow(view, further)))
        said = np.where(queue, np.maximum(nats, -s.most_of_flow), np.where(fluent, -1.0, 0.0))
        counted: Floats = np.where(self.recent.counted(view)[d], said, 0.0)
        return counted

    def _one_slow(self, view: View, further: Indices) -> Floats:
        """Return [p] what weak discharge may say while the next detector upstream is not slow.

        One slow detector is no queue yet: it has to count no less than passes further down, and
        there something has to be lost, until it has been slow for two windows.
        """
        s, (u, d) = self.settings, (view.pairs.upstream, view.pairs.downstream)
        loss, variance = self.recent.flow_loss(view)
        noise, little = variance[u] + variance[d], s.lost_share / 2
        balance = s.lost_share / noise * (little - (loss[u] - loss[d]))
        lost = (loss[d] + np.where(np.isnan(loss[further]), loss[d], loss[further])) / 2
        some = little / variance[d] * (lost - little / 2)
        again = self.pair_state[:, _SPEED] >= s.slow_again
        said: Floats = np.minimum(2 * balance, np.where(again, s.most_of_discharge, some))
        return said

    def _full(self, view: View) -> Mask:
        """Return [p] where about as much came as the road can carry.

        Capacity is random: the nearer the flow is to it, the likelier a breakdown (Brilon,
        Geistefeldt and Regler, 2005).
        """
        u, d = view.pairs.upstream, view.pairs.downstream
        most = nominal_capacity_veh_h(view.network)
        seen = np.clip(self.recent.peak, _LEAST_CAPACITY * most, most)
        before = np.fmax(self.recent.flow[d], self.recent.flow[u])
        full: Mask = before > self.settings.full * np.fmin(seen[u], seen[d])
        return full

    def _longer(self, view: View) -> Mask:
        """Return [p] where the next detector upstream of the pair is slow too."""
        pairs = view.pairs
        before = pairs.previous_pair
        above = np.where(before >= 0, pairs.upstream[before], pairs.upstream)
        share = view.speed / view.network.free_flow_kmh
        slow = share[above] < self.settings.contrast * share[pairs.downstream]
        longer: Mask = (before >= 0) & slow
        return longer

    def _contradicted(self, view: View, further: Indices) -> Mask:
        """Return [p] the pairs whose counts cannot be true: vehicles do not come from nowhere.

        Downstream far more than upstream, by more than ramps bring; or a detector in the middle
        that counts twice what both of its neighbours do.
        """
        u, d = view.pairs.upstream, view.pairs.downstream
        chance = np.sqrt(view.flow * 3_600_000 / (view.end - view.start))
        surplus = 2 * np.hypot(chance[u], chance[d])
        more = view.flow[d] > _RAMPS * view.flow[u] + surplus
        alone = (further == d) | (view.flow[d] > _RAMPS * view.flow[further] - surplus)
        contradicted: Mask = more & alone
        return contradicted

    def settle(self, view: View, held: Mask) -> None:
        """Learn from this window what is usual now, hardly where an incident ``held`` [n]."""
        pairs = view.pairs
        doubtful = held.copy()
        s = self.settings
        # A queue without a loss of flow is the daily one: that is usual soon.
        flow = self._flow_evidence()
        evidence = (flow >= s.least) & (flow + self.pair_state[:, _SPEED] >= s.suspect)
        doubtful[pairs.upstream[evidence]] = True
        doubtful[pairs.downstream[evidence]] = True
        following = pairs.next_pair[evidence]
        doubtful[pairs.downstream[following[following >= 0]]] = True
        self.recent.learn(view, doubtful)


def _mean_loss(loss: Floats, variance: Floats, detectors: list[Indices]) -> tuple[Floats, Floats]:
    """Return [p] the mean loss over distinct detectors, and its variance; NaN: the first's is."""
    total, noise, count = loss[detectors[0]], variance[detectors[0]], 1.0
    for before, detector in pairwise(detectors):
        counts = (detector != before) & ~np.isnan(loss[detector])
        total = total + np.where(counts, loss[detector], 0.0)
        noise = noise + np.where(counts, variance[detector], 0.0)
        count = count + counts
    return total / count, noise / count**2
