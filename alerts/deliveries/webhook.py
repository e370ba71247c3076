"""Alerts as signed POSTs of JSON."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import httpx
import msgspec

from alerts.deliveries.alert_texts import alert_link
from alerts.deliveries.http_answers import check_answer
from alerts.deliveries.outcomes import TryAgain
from alerts.deliveries.receivers import WebhookReceiver
from alerts.deliveries.signatures import SHORTEST_SECRET, delivery_id, signed_headers
from civicstream.errors import ConfigurationError
from civicstream.events import Alert

__all__ = ["Webhook", "http_client", "post", "signing_key", "tls_context"]

_READ_BYTES = 4096
"""Of an answer: enough for a sentence in the log."""


def signing_key(secret: str) -> bytes:
    """Return the key; raise ConfigurationError for one that could be guessed."""
    key = secret.encode()
    if len(key) < SHORTEST_SECRET:
        raise ConfigurationError(
            f"the secret has {len(key)} bytes, at least {SHORTEST_SECRET} are needed; make one "
            "with `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
    return key


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return the context for connections; raise ConfigurationError for an unusable CA file."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"ca_file {ca_file}: {error}") from error


def http_client(timeout_s: float, ca_file: str | None) -> httpx.Client:
    """Return a client that follows no redirects and no proxy settings of the environment."""
    return httpx.Client(
        timeout=timeout_s,
        follow_redirects=False,
        trust_env=False,
        verify=tls_context(ca_file),
    )


def post(
    client: httpx.Client, url: str, body: bytes, headers: Mapping[str, str], now_ms: int
) -> None:
    """POST and return when the receiver has confirmed; raise Refused or TryAgain."""
    try:
        with client.stream("POST", url, content=body, headers=dict(headers)) as answer:
            body = next(answer.iter_bytes(_READ_BYTES), b"")
            check_answer(answer.status_code, answer.headers, body.decode(errors="replace"), now_ms)
    except httpx.HTTPError as error:
        raise TryAgain(f"{type(error).__name__}: {error}") from error


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
