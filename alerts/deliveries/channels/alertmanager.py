"""Alerts for Prometheus Alertmanager: POST /api/v2/alerts.

Alertmanager takes an alert for over when it has not received it again by its ``endsAt``. So the
active ones are sent again, with an ``endsAt`` ahead, and an alert that is cleared is sent once
with the time of its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from alerts.deliveries.alert_texts import alert_link, one_line
from alerts.deliveries.http_answers import http_client, post
from alerts.deliveries.outcomes import Refused, TryAgain
from alerts.deliveries.receivers import (
    Context,
    Receiver,
    Seconds,
    SecretText,
    Sender,
    Text,
    check_http_url,
)
from civicstream.clock import rfc3339
from civicstream.events import Alert

__all__ = ["Alertmanager", "AlertmanagerReceiver", "labels_of", "posted"]

log = logging.getLogger(__name__)

_AT_ONCE = 500
"""Alerts in one request."""


class AlertmanagerReceiver(Receiver, frozen=True, kw_only=True, tag="alertmanager"):
    """Prometheus Alertmanager, by its API v2."""

    url: Text
    """Of the Alertmanager itself: ``/api/v2/alerts`` is put behind it."""
    resend_s: Seconds = 60
    resolve_after_s: Seconds = 300
    """Alertmanager resolves by itself what it has not received for this time."""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Added to every alert."""
    username: Text | None = None
    password: SecretText | None = None
    ca_file: Text | None = None

    mirrors: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Receiver.__post_init__(self)
        check_http_url(self.url, "url")
        if self.resolve_after_s < 2 * self.resend_s:
            raise ValueError("resolve_after_s must be at least twice resend_s")

    def open(self, context: Context) -> Sender:
        return Alertmanager(self, context.settings.deliver.public_url, context.clock)


def labels_of(alert: Alert, more: Mapping[str, str]) -> dict[str, str]:
    """Return what Alertmanager tells alerts apart by."""
    return {
        **more,
        "alertname": alert.rule,
        "rule": alert.rule,
        "severity": alert.severity,
        "area": alert.area,
        "subject": alert.subject,
    }


def posted(
    alert: Alert, labels: Mapping[str, str], link: str, ends_ms: int
) -> dict[str, Any]:  # the shape of API v2's postableAlert
    """Return one alert as API v2 takes it."""
    annotations = {"summary": one_line(alert.headline), "description": alert.description}
    if alert.value is not None:
        annotations["value"] = f"{alert.value:g}"
    if alert.children:
        annotations["children"] = str(alert.children)
    if alert.acknowledged_by is not None:
        annotations["acknowledged_by"] = alert.acknowledged_by
    return {
        "labels": dict(labels),
        "annotations": annotations,
        "startsAt": rfc3339(min(alert.started_at, ends_ms)),
        "endsAt": rfc3339(ends_ms),
        "generatorURL": link,
    }


class Alertmanager:
    """Keeps one Alertmanager up to date."""

    def __init__(
        self, receiver: AlertmanagerReceiver, public_url: str, clock: Callable[[], int]
    ) -> None:
        self._receiver, self._public_url, self._clock = receiver, public_url, clock
        self._url = receiver.url.rstrip("/") + "/api/v2/alerts"
        self._client = http_client(receiver.timeout_s, receiver.ca_file)
        if receiver.username is not None and receiver.password is not None:
            self._client.auth = (receiver.username, receiver.password.read())
        self._labels: dict[str, dict[str, str]] = {}
        """Of each active alert as last sent: a change of severity makes another one of it."""
        self._resend_at_ms = 0.0

    def send(self, alert: Alert) -> None:
        """Return when Alertmanager has confirmed; raise Refused or TryAgain."""
        now = self._clock()
        labels = labels_of(alert, self._receiver.labels)
        before = self._labels.get(alert.id)
        listed = [self._one(alert, labels, self._end(alert, now))]
        if before is not None and before != labels:
            listed.insert(0, self._one(alert, before, now))
        self._post(listed, now)
        if alert.state == "cleared":
            self._labels.pop(alert.id, None)
        else:
            self._labels[alert.id] = labels

    def refresh(self, active: Iterable[Alert]) -> None:
        """Send the active ones again when it is time; what fails is tried again soon."""
        now = self._clock()
        if now < self._resend_at_ms:
            return
        self._resend_at_ms = now + 1000 * self._receiver.resend_s
        alerts = list(active)
        try:
            for first in range(0, len(alerts), _AT_ONCE):
                self._post(
                    [
                        self._one(a, labels_of(a, self._receiver.labels), self._end(a, now))
                        for a in alerts[first : first + _AT_ONCE]
                    ],
                    now,
                )
        except TryAgain as error:
            soon_s = min(5.0, self._receiver.resend_s)
            self._resend_at_ms = now + 1000 * soon_s
            log.warning("receiver %s: not sent again: %s", self._receiver.name, error)
        except Refused as error:
            log.warning("receiver %s: refused again: %s", self._receiver.name, error)

    def _end(self, alert: Alert, now: int) -> int:
        if alert.state == "cleared":
            return min(alert.cleared_at or now, now)
        return now + round(1000 * self._receiver.resolve_after_s)

    def _one(self, alert: Alert, labels: Mapping[str, str], ends_ms: int) -> dict[str, Any]:
        return posted(alert, labels, alert_link(self._public_url, alert), ends_ms)

    def _post(self, listed: list[dict[str, Any]], now: int) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "CivicStream"}
        post(self._client, self._url, msgspec.json.encode(listed), headers, now)

    def close(self) -> None:
        self._client.close()
