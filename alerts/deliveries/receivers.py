"""Who gets which alerts: the declarations of the receivers' file and their filters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from civicstream.errors import ConfigurationError
from civicstream.events import Alert, AlertChange, AlertSeverity

__all__ = [
    "AlertmanagerReceiver",
    "CitizensPlan",
    "EmailReceiver",
    "KafkaReceiver",
    "MailServer",
    "MqttReceiver",
    "NotificationFilter",
    "Receiver",
    "ReceiverTypes",
    "SecretText",
    "WebhookReceiver",
    "check_http_url",
]

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,60}$")]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Patience = Annotated[float, Meta(gt=0, le=30 * 86_400)]
# No control characters: they would end a header of the mail and begin another one.
Address = Annotated[str, Meta(pattern=r"^[^\s@<>\",;:()\[\]\\\x00-\x1f\x7f]+@[^\s@<>\",;:()\\]+$")]

_RANK = {severity: rank for rank, severity in enumerate(get_args(AlertSeverity))}
ALL_CHANGES: tuple[AlertChange, ...] = get_args(AlertChange)


class SecretText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a secret is, not what: ``{env = "NAME"}`` or ``{file = "/run/secrets/name"}``."""

    env: str | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.file is None):
            raise ValueError('a secret is either {env = "NAME"} or {file = "PATH"}')

    def read(self, environ: Mapping[str, str] | None = None) -> str:
        """Return the secret; raise ConfigurationError that says where it was looked for."""
        if self.env is not None:
            value = (os.environ if environ is None else environ).get(self.env, "")
            if not value:
                raise ConfigurationError(f"environment variable {self.env} is not set")
            return value
        assert self.file is not None  # noqa: S101 one of the two is there
        try:
            value = Path(self.file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"secret file {self.file}: {error}") from error
        if not value:
            raise ConfigurationError(f"secret file {self.file} is empty")
        return value


class _Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Receiver(_Declared, frozen=True, kw_only=True, tag_field="type"):
    """What all receivers have: a name, filters, and how patient we are with it."""

    name: Name
    areas: list[str] = []
    """None named: all."""
    min_severity: AlertSeverity = "minor"
    rules: list[str] = []
    """None named: all."""
    include_children: bool = False
    """Also the alerts that a group stands for."""
    on: list[AlertChange] = []
    """The changes it gets; none named: what suits the type."""
    give_up_after_s: Patience = 3600
    """An alert that is older than this [since its publication] becomes a dead letter."""
    timeout_s: Seconds = 10
    """Of one attempt."""

    usual: ClassVar[tuple[AlertChange, ...]] = ALL_CHANGES
    """What suits the type."""
    mirrors: ClassVar[bool] = False
    """It holds the present state, so the end of every alert must reach it."""

    def __post_init__(self) -> None:
        if self.on and "cleared" not in self.on and self.mirrors:
            raise ValueError("on must name `cleared`, or what was raised would stay there for ever")
        if self.on == ["cleared"]:
            raise ValueError("on names only `cleared`; name what comes before it too")

    @property
    def changes(self) -> frozenset[AlertChange]:
        return frozenset(self.on or self.usual)


class KafkaReceiver(Receiver, frozen=True, kw_only=True, tag="kafka"):
    """A topic, of this cluster or of another one."""

    topic: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    bootstrap: Text | None = None
    """None: this cluster, as the kafka section says; the fields below are for another one."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: Text | None = None
    password: SecretText | None = None
    ca_file: Text | None = None


class MqttReceiver(Receiver, frozen=True, kw_only=True, tag="mqtt"):
    """``<root>/alert/<area>/<id>``, retained while the alert is active."""

    host: Text | None = None
    """None: the broker of the mqtt section; the fields below are for another one."""
    port: Port = 1883
    username: Text | None = None
    password: SecretText | None = None
    tls: bool = False
    ca_file: Text | None = None
    root: Annotated[str, Meta(pattern=r"^[^#+]*[^/#+]$")] | None = None

    mirrors: ClassVar[bool] = True


class WebhookReceiver(Receiver, frozen=True, kw_only=True, tag="webhook"):
    """A signed POST of the alert as JSON."""

    url: Text
    secret: SecretText
    """What signatures are made with; 16 bytes at least."""
    headers: dict[str, SecretText] = {}
    """Further headers, such as Authorization."""
    ca_file: Text | None = None

    def __post_init__(self) -> None:
        Receiver.__post_init__(self)
        check_http_url(self.url, "url")


class AlertmanagerReceiver(Receiver, frozen=True, kw_only=True, tag="alertmanager"):
    """Prometheus Alertmanager, by its API v2."""

    url: Text
    """Of the Alertmanager itself: ``/api/v2/alerts`` is put behind it."""
    resend_s: Seconds = 60
    resolve_after_s: Seconds = 300
    """Alertmanager resolves by itself what it has not received for this time."""
    labels: dict[str, str] = {}
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


class EmailReceiver(Receiver, frozen=True, kw_only=True, tag="email"):
    """A mail to each of ``to`` through the server of the table ``[smtp]``."""

    to: Annotated[list[Address], Meta(min_length=1, max_length=50)]

    usual: ClassVar[tuple[AlertChange, ...]] = ("raised", "escalated", "cleared")


ReceiverTypes = (
    KafkaReceiver | MqttReceiver | WebhookReceiver | AlertmanagerReceiver | EmailReceiver
)


class MailServer(_Declared, frozen=True, kw_only=True):
    """The SMTP server that mails are handed to."""

    host: Text
    sender: Address
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: Text | None = None
    password: SecretText | None = None
    ca_file: Text | None = None

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password must come together")


class CitizensPlan(_Declared, frozen=True, kw_only=True):
    """How citizens who asked for it are notified of their cases."""

    secret: SecretText
    """What the signatures of their webhooks are made with; 16 bytes at least."""
    mail: bool = True
    webhooks: bool = True
    allow_http: bool = False
    """For tests: also addresses without TLS."""
    allow_private_addresses: bool = False
    """For tests: also addresses of this machine and its networks."""
    give_up_after_s: Patience = 3600
    timeout_s: Seconds = 5
    ca_file: Text | None = None


def check_http_url(url: str, field: str) -> None:
    """Raise ValueError unless it is an http or https address of a host."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or not url.isprintable() or " " in url:
        raise ValueError(
            f"{field} must be an http or https address without a user name in it, e.g. "
            "https://example.org/alerts"
        )


class NotificationFilter:
    """Which versions of alerts go to a receiver: its filters, and what it has had before.

    It takes the versions in their order and depends on that order alone, so after a restart it is
    what it was once the same versions have come to it again.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self.active: dict[str, Alert] = {}
        """The newest version sent to the receiver, of each alert that is not over."""

    def take(self, alert: Alert) -> bool:
        """Return whether this version goes to the receiver.

        Of an alert that first passes the filters later in its life, the first version that does
        counts as raised. The end of an alert goes to whoever had its beginning, whatever the
        filters say by then.
        """
        if alert.state == "cleared":
            was_sent = self.active.pop(alert.id, None) is not None
            # Of one older than what Kafka keeps we cannot know; to send it twice does no harm.
            return "cleared" in self._receiver.changes and (was_sent or self._receiver.mirrors)
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
        """Whether somebody silenced it: then no mail is sent, and machines get it as ever."""
        until = alert.silenced_until
        return (
            isinstance(self._receiver, EmailReceiver)
            and until is not None
            and until > alert.updated_at
            and not (alert.change == "silenced" and "silenced" in self._receiver.on)
        )
