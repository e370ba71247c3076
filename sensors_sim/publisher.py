"""Several MQTT connections driven by one thread; what goes out stays in step."""

from __future__ import annotations

import select
import threading
import time

from civicstream.settings import MqttSettings
from sensors_sim.mqtt_link import Link

__all__ = ["Publisher"]

_MISC_EVERY_S = 0.1


class Publisher:
    """The connections; ``turn`` does their reading and writing."""

    def __init__(self, settings: MqttSettings, connections: int) -> None:
        self.links = [Link(settings, number) for number in range(connections)]
        self._next_misc = 0.0

    def connect(self, stop: threading.Event) -> None:
        """Return when every connection stands, or ``stop`` is set; wait as long as it takes.

        Raises ConfigurationError when the broker refuses the credentials.
        """
        while not stop.is_set() and not all(link.connected for link in self.links):
            self.turn(0.05)

    @property
    def pending(self) -> int:
        """Messages published and not yet acked."""
        return sum(link.pending for link in self.links)

    @property
    def acked(self) -> int:
        """Messages acked so far."""
        return sum(link.acked for link in self.links)

    def turn(self, timeout_s: float) -> None:
        """Write what is queued, read what has come; wait for that at most ``timeout_s``."""
        now = time.monotonic()
        if now >= self._next_misc or not all(link.connected for link in self.links):
            self._next_misc = now + _MISC_EVERY_S
            for link in self.links:
                link.keep_alive(now)
                if link.fatal:
                    raise link.fatal
        sockets = {s: link for link in self.links if (s := link.client.socket()) is not None}
        if not sockets:
            time.sleep(timeout_s)
            return
        writers = [s for s, link in sockets.items() if link.client.want_write()]
        # TLS may hold bytes already read from the socket, which select cannot see.
        held = [s for s in sockets if hasattr(s, "pending") and s.pending()]
        readable, writable, _ = select.select(list(sockets), writers, [], 0 if held else timeout_s)
        for s in writable:
            sockets[s].client.loop_write()
        for s in {*readable, *held}:
            sockets[s].client.loop_read()

    def drain(self, within_s: float) -> int:
        """Wait for the missing acks; return how many messages still lack theirs."""
        deadline = time.monotonic() + within_s
        while self.pending and time.monotonic() < deadline:
            self.turn(0.05)
        return self.pending

    def disconnect(self) -> None:
        for link in self.links:
            link.disconnect()
