"""What a receiver hears of: its filters, and what it has heard before."""

from __future__ import annotations

from typing import get_args

from alerts.deliveries.receivers import Receiver
from civicstream.events import Alert, AlertSeverity

__all__ = ["Told"]

_RANK = {severity: rank for rank, severity in enumerate(get_args(AlertSeverity))}


class Told:
    """Follows the versions of alerts in their order and says which ones go to the receiver.

    It depends on that order alone, so after a restart it is what it was once the same versions
    have been shown to it again.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.active: dict[str, Alert] = {}
        """The newest version that the receiver was told of each alert that is not over."""

    def take(self, alert: Alert) -> bool:
        """Return whether this version goes to the receiver.

        Of an alert that first passes the filters later in its life, the first version that does
        counts as raised. The end of an alert is told to whoever was told of it, whatever the
        filters say by then.
        """
        if alert.state == "cleared":
            told = self.active.pop(alert.id, None) is not None
            # Of one older than what Kafka keeps we cannot know; to say it twice does no harm.
            return "cleared" in self._receiver.changes and (told or self._receiver.mirrors)
        if not self._passes(alert) or self._is_silent(alert):
            return False
        changes = self._receiver.changes
        first = alert.id not in self.active
        if alert.change in changes or (first and "raised" in changes):
            self.active[alert.id] = alert
            return True
        return False

    def _passes(self, alert: Alert) -> bool:
        wanted = self._receiver
        return (
            (not wanted.areas or alert.area in wanted.areas)
            and (not wanted.rules or alert.rule in wanted.rules)
            and _RANK[alert.severity] >= _RANK[wanted.min_severity]
            and (wanted.include_children or alert.parent is None)
        )

    def _is_silent(self, alert: Alert) -> bool:
        """Whether somebody silenced it: then people are left alone, and machines go on."""
        until = alert.silenced_until
        return (
            self._receiver.for_people
            and until is not None
            and until > alert.updated_at
            and not (alert.change == "silenced" and "silenced" in self._receiver.on)
        )
