"""Blocks of messages to MQTT, in order, each at its time; the one loop of simulate and replay."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from sensors_sim.messages import Block
from sensors_sim.mqtt_link import Link
from sensors_sim.pacing import Pace
from sensors_sim.payloads import encode_payloads
from sensors_sim.publisher import Publisher
from sensors_sim.truth import Outgoing, Truth

__all__ = ["Broadcast"]

_TICK_S = 0.01
"""Messages due within one tick go out together: at 5,000 a second that saves most of the system
calls, and delays none by more than this."""


@dataclass
class Broadcast:
    """Publishes blocks; an area's messages always take the same connection, so stay in order."""

    city: City
    root: str
    publisher: Publisher
    truth: Truth
    wall_ms: Callable[[], float]
    stop: threading.Event
    on_turn: Callable[[], None]
    """Called after every turn of the loop, e.g. to show progress."""
    published: int = field(default=0, init=False)
    """Messages so far."""

    def run(self, blocks: Iterable[Block], pace: Pace, until_ms: float = np.inf) -> None:
        """Publish the messages that are to go out before ``until_ms``, or until ``stop``.

        What goes out depends on the blocks, the pace and ``until_ms`` only, not on how fast this
        machine is: behind its time, it catches up.
        """
        for block in blocks:
            outgoing = self.truth.begin(block)
            release = pace.release(outgoing.due)
            count = int(np.searchsorted(release, until_ms))
            if count:
                self._publish(outgoing, release[:count])
                if len(self.publisher.links) > 1:
                    self._await_acks(outgoing, count)
            self.truth.write_settled()
            ends = pace.release(np.array([block.end_ms], np.int64))
            if self.stop.is_set() or count < len(release) or ends[0] >= until_ms:
                return

    def _publish(self, outgoing: Outgoing, release: NDArray[np.float64]) -> None:
        topics, payloads, links = self._prepare(outgoing, len(release))
        at, end = 0, len(release)
        while at < end and not self.stop.is_set():
            now = self.wall_ms()
            ready = int(np.searchsorted(release, now, side="right"))
            first = at
            while at < ready and links[at].room > 0:
                links[at].publish(topics[at], payloads[at], outgoing, at)
                at += 1
            outgoing.sent_at[first:at] = int(now)
            self.published += at - first
            self._turn(waiting_for_acks=at < ready, next_ms=release[at] if at < end else now)

    def _await_acks(self, outgoing: Outgoing, count: int) -> None:
        """Hold the next block back until the broker has all of this one.

        Else several connections could drift apart by their windows: in a fast replay that is
        hours of event time, and what the slower one carries would come late.
        """
        never_sent = len(outgoing.due) - count
        while outgoing.unsettled > never_sent and not self.stop.is_set():
            self.publisher.turn(0.05)
            self.on_turn()

    def _turn(self, *, waiting_for_acks: bool, next_ms: float) -> None:
        if waiting_for_acks:
            self.publisher.turn(0.05)
        else:
            self.publisher.turn(0)
            time.sleep(min(max(next_ms - self.wall_ms(), 0.0) / 1000, _TICK_S))
        self.on_turn()

    def _prepare(self, outgoing: Outgoing, count: int) -> tuple[list[str], list[bytes], list[Link]]:
        """Return topic, payload and connection of the first ``count`` messages, in order."""
        groups = outgoing.block.groups
        encoded = [encode_payloads(group) for group in groups]
        sensors, areas, links = self.city.sensors, self.city.areas, self.publisher.links
        topics, payloads, chosen = [], [], []
        group_at, message_at = outgoing.group[:count], outgoing.message[:count]
        sensor_of = [group.sensor for group in groups]
        prefixes = [f"{self.root}/{group.kind.name}/" for group in groups]
        for g, m in zip(group_at.tolist(), message_at.tolist(), strict=True):
            sensor = sensor_of[g][m]
            area = sensors.area[sensor]
            topics.append(f"{prefixes[g]}{areas[area].id}/{sensors.ids[sensor]}")
            payloads.append(encoded[g][m])
            chosen.append(links[area % len(links)])
        return topics, payloads, chosen
