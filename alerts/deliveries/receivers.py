"""Who gets which alerts: what all receivers of the receivers' file have, and what a channel is.

A channel is a module or folder of ``channels``: a ``Receiver`` with the fields of its own, whose
``open`` returns the ``Sender``. docs/extending.md has an example.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from civicstream.errors import ConfigurationError
from civicstream.events import Alert, AlertChange, AlertSeverity
from civicstream.settings import Settings

__all__ = [
    "Address",
    "CitizensPlan",
    "Context",
    "MailServer",
    "NotificationFilter",
    "Port",
    "Receiver",
    "Seconds",
    "SecretText",
    "Sender",
    "Text",
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


class Sender(Protocol):
    """What sends alerts to one receiver."""

    def send(self, alert: Alert) -> None:
        """Return when the receiver has confirmed; raise Refused or TryAgain."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Context:
    """What a sender may need beside its receiver's declaration."""

    settings: Settings
    mail: MailServer | None
    """Of the table ``[smtp]``."""
    clock: Callable[[], int]
    """Epoch ms."""


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
    for_people: ClassVar[bool] = False
    """Gets nothing of alerts that somebody has silenced; machines do."""
    needs_mail_server: ClassVar[bool] = False
    """Cannot do without the table ``[smtp]``."""

    def open(self, context: Context) -> Sender:
        """Return what sends to this receiver; raise ConfigurationError where it cannot."""
        raise NotImplementedError(type(self).__name__)

    def __post_init__(self) -> None:
        if self.on and "cleared" not in self.on and self.mirrors:
            raise ValueError("on must name `cleared`, or what was raised would stay there for ever")
        if self.on == ["cleared"]:
            raise ValueError("on names only `cleared`; name what comes before it too")

    @property
    def changes(self) -> frozenset[AlertChange]:
        return frozenset(self.on or self.usual)


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
            self._receiver.for_people
            and until is not None
            and until > alert.updated_at
            and not (alert.change == "silenced" and "silenced" in self._receiver.on)
        )
