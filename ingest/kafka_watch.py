"""The warnings of a gateway about Kafka: that it is away, confirms nothing, or only some."""

from __future__ import annotations

import logging

from civicstream.retry import ThrottledLog

__all__ = ["STALLED_AFTER_S", "KafkaWatch"]

log = logging.getLogger(__name__)

STALLED_AFTER_S = 5.0
"""Records that wait for longer are worth a line in the log."""
_AGAIN_S = 10.0


class KafkaWatch:
    """Says each state once and again while it lasts. Times are of a monotonic clock [s]."""

    def __init__(self, bootstrap: str, now: float) -> None:
        self._bootstrap = bootstrap
        self._progress_at = now
        self._away = ThrottledLog(log, again_s=_AGAIN_S)
        self._stuck = ThrottledLog(log)

    def is_stalled(self, now: float) -> bool:
        """Whether nothing was confirmed for long, though something waits."""
        return now - self._progress_at >= STALLED_AFTER_S

    def not_connected(self, error: Exception) -> None:
        self._away.warning("away", "waiting: %s", error)

    def connected(self) -> None:
        log.info("connected to Kafka at %s", self._bootstrap)
        self._away = ThrottledLog(log, again_s=_AGAIN_S)

    def progress(self, now: float) -> None:
        """Note that Kafka has confirmed something."""
        if self.is_stalled(now):
            log.info("Kafka at %s confirms again", self._bootstrap)
            self._away = ThrottledLog(log, again_s=_AGAIN_S)
        self._progress_at = now

    def refused(self, error: BaseException) -> None:
        """Note that Kafka did not take a record."""
        log.error(
            "Kafka at %s did not take a record (%s: %s); sending it again",
            self._bootstrap,
            type(error).__name__,
            error,
        )

    def look(self, now: float, waiting: int) -> None:
        """Say it while messages wait and Kafka confirms none."""
        if not waiting:
            self._progress_at = now
        if self.is_stalled(now):
            self._away.warning(
                "away",
                "Kafka at %s has confirmed nothing for %.0f s; %d messages wait here, "
                "the MQTT broker keeps the others",
                self._bootstrap,
                now - self._progress_at,
                waiting,
            )

    def look_at_partitions(self, stuck: list[str], park_after_s: float, parked_on: str) -> None:
        """Name the partitions that cannot be written while others can."""
        if not stuck:
            self._stuck.over("Kafka at %s confirms every partition again", self._bootstrap)
            return
        names = ", ".join(stuck)
        self._stuck.warning(
            names,
            "Kafka at %s confirms some partitions, but not %s; after %g s what is for these goes "
            "to %s (not personal data, which waits): look at their leader and in-sync replicas",
            self._bootstrap,
            names,
            park_after_s,
            parked_on,
        )
