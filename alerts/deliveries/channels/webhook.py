"""Alerts as signed POSTs of JSON."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from alerts.deliveries.alert_texts import alert_link
from alerts.deliveries.http_answers import http_client, post
from alerts.deliveries.receivers import (
    Context,
    Receiver,
    SecretText,
    Sender,
    Text,
    check_http_url,
)
from alerts.deliveries.signatures import delivery_id, signed_headers, signing_key
from civicstream.events import Alert

__all__ = ["Webhook", "WebhookReceiver"]


class WebhookReceiver(Receiver, frozen=True, kw_only=True, tag="webhook"):
    """A signed POST of the alert as JSON."""

    url: Text
    secret: SecretText
    """What signatures are made with; 16 bytes at least."""
    headers: dict[str, SecretText] = msgspec.field(default_factory=dict)
    """Further headers, such as Authorization."""
    ca_file: Text | None = None

    def __post_init__(self) -> None:
        Receiver.__post_init__(self)
        check_http_url(self.url, "url")

    def open(self, context: Context) -> Sender:
        return Webhook(self, context.settings.deliver.public_url, context.clock)


class Webhook:
    """Sends to one address."""

    def __init__(
        self, receiver: WebhookReceiver, public_url: str, clock: Callable[[], int]
    ) -> None:
        self._url, self._public_url, self._clock = receiver.url, public_url, clock
        self._key = signing_key(receiver.secret.read())
        self._headers = {name: secret.read() for name, secret in receiver.headers.items()}
        self._client = http_client(receiver.timeout_s, receiver.ca_file)

    def send(self, alert: Alert) -> None:
        """Return when the receiver has confirmed; raise Refused or TryAgain."""
        now = self._clock()
        body = msgspec.json.encode(
            {"type": "alert", "url": alert_link(self._public_url, alert), "alert": alert}
        )
        signed = signed_headers(body, self._key, now, delivery_id(alert.id, alert.version))
        post(self._client, self._url, body, {**self._headers, **signed}, now)

    def close(self) -> None:
        self._client.close()
