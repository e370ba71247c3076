"""A POST, and what the answer to it means for its delivery."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import httpx

from alerts.deliveries.outcomes import Refused, TryAgain
from civicstream.errors import ConfigurationError

__all__ = ["check_answer", "http_client", "post", "tls_context"]

_READ_BYTES = 4096
"""Of an answer: enough for a sentence in the log."""

_LATER = {408, 425, 429}
"""Of 4xx those that say nothing about the request: timeout, too early, too many."""
_LONGEST_WAIT_S = 3600.0
"""A receiver that asks for more is asked again all the same."""


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
            reply = next(answer.iter_bytes(_READ_BYTES), b"")
            check_answer(answer.status_code, answer.headers, reply.decode(errors="replace"), now_ms)
    except httpx.HTTPError as error:
        raise TryAgain(f"{type(error).__name__}: {error}") from error


def check_answer(status: int, headers: Mapping[str, str], body: str, now_ms: int) -> None:
    """Return for 2xx; raise Refused for what will not get better, TryAgain for the rest.

    A redirect is refused: whoever can redirect us could have the alert sent anywhere.
    """
    if 200 <= status < 300:
        return
    words = " ".join(body.split())[:200]
    sentence = f"HTTP {status}" + (f" ({words})" if words else "")
    if status >= 500 or status in _LATER:
        raise TryAgain(sentence, _asked_to_wait_s(headers.get("retry-after", ""), now_ms))
    if 300 <= status < 400:
        sentence += "; redirects are not followed, configure the address it leads to"
    raise Refused(sentence)


def _asked_to_wait_s(retry_after: str, now_ms: int) -> float:
    """Return the seconds of ``Retry-After`` (RFC 9110, section 10.2.3), 0 without a valid one."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST_WAIT_S)
    try:
        at = parsedate_to_datetime(text)
        return min(max(0.0, at.timestamp() - now_ms / 1000), _LONGEST_WAIT_S)
    except (ValueError, TypeError, OverflowError):
        return 0.0
