"""Who gets which alerts: what all receivers of the receivers' file have, and what a channel is.

A channel is a module or folder of ``channels``: a ``Receiver`` with the fields of its own, whose
``open`` returns the ``Sender``. docs/extending.md has an example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from alerts.deliveries.secret_texts import SecretText
from civicstream.events import Alert, AlertChange, AlertSeverity
from civicstream.settings import Settings

__all__ = [
    "Address",
    "CitizensPlan",
    "Context",
    "MailServer",
    "Port",
    "Receiver",
    "Seconds",
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

ALL_CHANGES: tuple[AlertChange, ...] = get_args(AlertChange)


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
    """What changes it hears of; none named: what suits the type."""
    give_up_after_s: Patience = 3600
    """So long after its publication an alert becomes a dead letter."""
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
    """How citizens who asked for it are told of their cases."""

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
