"""Settings of what people meet: citizens' reports, the HTTP front, its callers, alerts.

``civicstream.settings`` has the others, puts them together and loads them.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from civicstream.settings_section import Name, Section

__all__ = [
    "AccessSettings",
    "AlertsSettings",
    "DeliverSettings",
    "FeedsSettings",
    "PrivacySettings",
    "ReportSettings",
]


class ReportSettings(Section):
    """Citizens' reports, whichever way they come; docs/reports.md."""

    services_file: Path | None = None
    """Service types as TOML; None: the packaged ones (civicstream/services.toml)."""
    addresses_file: Path | None = None
    """CSV with address_id, address, lon, lat: finds the place of reports that give only these."""
    max_description: int = Field(4000, ge=100, le=20_000)
    """Characters; GeoReport v2 allows 4,000."""
    per_client_10_min: float = Field(10, gt=0)
    """Reports of one client that are taken in the long run …"""
    burst: int = Field(10, ge=1, le=10_000)
    """… and at once, after a pause."""


class PrivacySettings(Section):
    """Keys for what is known of citizens as persons; see ``civicstream.personal``."""

    public_key: str | None = None
    """Seals; without it and ``pseudonym_key`` no report is taken in."""
    private_key: SecretStr | None = None
    """Opens; only who writes to citizens has it. Several, separated by commas: all open."""
    pseudonym_key: SecretStr | None = None
    """What pseudonyms and report ids are made with, at least 32 bytes."""

    @field_validator("pseudonym_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value and len(value.get_secret_value().encode()) < 32:
            raise ValueError(
                "the key has fewer than 32 bytes; make the keys with `civicstream privacy-keys`"
            )
        return value


class FeedsSettings(Section):
    """The HTTP front: Open311."""

    id: Name = Field(default_factory=lambda: f"feeds-{socket.gethostname()}"[:80])
    host: str = "127.0.0.1"
    """Loopback: a proxy with TLS belongs in front of it."""
    port: int = Field(8311, ge=0, le=65535)
    database_url: SecretStr | None = None
    """Read only; None: that of the database section."""
    jurisdiction_id: str | None = None
    """Requests that name another one are answered 404."""
    api_keys: str = ""
    """``name:SHA-256 of the key in hex``, separated by commas."""
    api_keys_file: Path | None = None
    """The same, one a line."""
    allow_anonymous: bool = False
    """Take reports without an API key."""
    position_decimals: int = Field(3, ge=0, le=7)
    """Of public positions: 3 is about 100 m, 4 about 10 m."""
    publish_addresses: bool = False
    """Show the address that the citizen wrote; it undoes the rounding of positions."""
    max_body_bytes: int = Field(65_536, ge=1024, le=16 * 1024 * 1024)
    confirm_timeout_s: float = Field(10, gt=0, le=120)
    """How long a POST waits for Kafka; then it is answered 503."""
    default_area: Name = "city"
    """Area of reports while no city model is set."""
    max_rows: int = Field(10_000, ge=1, le=1_000_000)
    """Of a page of the history API; what a request asks for is in memory while it is answered."""
    max_csv_rows: int = Field(1_000_000, ge=1)
    """Of a CSV, which is sent page after page."""
    max_span_days: float = Field(31, gt=0, le=3660)
    """Longest span of time that a list of the history API is asked for at once."""
    open_data: bool = False
    """Answer /open/v1 without a token: traffic, environment, incidents and cases, no person's
    data."""
    open_data_licence: str = "https://creativecommons.org/licenses/by/4.0/"
    """Address of the licence; sent with every answer of open data."""
    open_data_attribution: str = Field("", max_length=200, pattern=r"^[ -~]*$")
    """Whom users of open data have to name, plain ASCII."""
    open_data_per_min: float = Field(60, gt=0)
    """Requests of open data from one address."""
    live_max_clients: int = Field(2_000, ge=1, le=100_000)
    """Clients of the live feed that one process serves at once …"""
    live_max_channels: int = Field(200, ge=1, le=10_000)
    """… and different filters among them: each is encoded once, whatever its clients."""
    live_flush_ms: int = Field(100, ge=10, le=5_000)
    """How often changes go out: what comes in between travels together."""
    live_heartbeat_s: float = Field(15, ge=0.1, le=300)
    live_linger_s: float = Field(300, ge=0, le=86_400)
    """How long what is cleared, solved or completed stays in the live state."""
    live_resume_s: float = Field(300, ge=1, le=86_400)
    """How long a client that was cut off can go on where it was …"""
    live_resume_mb: int = Field(128, ge=1, le=65_536)
    """… unless that takes more memory than this, of all filters together."""
    live_lookback_s: float = Field(300, ge=1, le=86_400)
    """At its start the live feed reads Kafka from so long ago on, besides the database."""
    live_websocket_compression: bool = False
    """permessage-deflate: it is done again for each client, the gzip of SSE once for all."""


class AlertsSettings(Section):
    """Rules that raise alerts; docs/alerts.md."""

    id: Name = Field(default_factory=lambda: f"alerts-{socket.gethostname()}"[:80])
    group: Name = "civicstream-alerts"
    """Processes of one group stand by for each other: one of them has all partitions."""
    rules_file: Path | None = None
    """Rules as TOML; None: the packaged ones (alerts/rules/default_rules.toml)."""
    read_back_h: float = Field(168, gt=0, le=24 * 30)
    """How far back a start reads what reports only changes: sensors' health, cases, incidents."""


class DeliverSettings(Section):
    """Alerts to other systems and to citizens, and as CAP; docs/alerts.md."""

    id: Name = Field(default_factory=lambda: f"deliver-{socket.gethostname()}"[:80])
    receivers_file: Path | None = None
    """TOML with the receivers, the mail server, and how citizens are notified."""
    public_url: str = Field("http://127.0.0.1:8311", pattern=r"^https?://[^/\s]+(/\S*[^/\s])?$")
    """Where people reach the operations page; links in what is delivered begin with it."""
    cap_sender: str = Field("civicstream@localhost", pattern=r"^[^\s,<&]{1,200}$")
    """Of CAP messages: a name of the city that nobody else has, e.g. alerts@city.example."""
    cap_status: Literal["Actual", "Exercise", "System", "Test"] = "Actual"
    """Of CAP messages: Exercise or Test while nobody is to act on them."""


class AccessSettings(Section):
    """Who may use the feeds, and how much; docs/feeds.md."""

    required: bool = False
    """Callers need a token also on loopback; always so with ``oidc_issuer``. Without it the feeds
    listen on loopback only, where every caller may do everything."""
    tls: bool = False
    """A proxy with TLS is in front: cookies are Secure, browsers are made to stay with HTTPS."""
    oidc_issuer: str | None = None
    """E.g. https://login.example.org/realms/city; its JWTs are taken as bearer tokens too."""
    oidc_audience: str | None = None
    """What a JWT must be meant for; needed with ``oidc_issuer``."""
    oidc_scope_claim: str = "scope"
    """Claim with the caller's scopes, a list or words; dots lead inside: realm_access.roles."""
    oidc_scopes: str = "read=read,operate=operate,admin=admin"
    """``word of the claim=scope``, separated by commas."""
    oidc_name_claim: str = "sub"
    """What the audit calls the caller, after ``oidc/``."""
    oidc_leeway_s: float = Field(30, ge=0, le=300)
    """How far the issuer's clock may be from ours."""
    requests_per_min: float = Field(600, gt=0)
    """Of one token in the long run …"""
    burst: int = Field(200, ge=1, le=100_000)
    """… and at once, after a pause."""
    failures_per_min: float = Field(10, gt=0)
    """Wrong tokens that one address may send; then all its unknown ones wait."""
    session_h: float = Field(12, gt=0, le=24 * 31)
    """How long a browser stays signed in."""
    cors_origins: str = ""
    """Origins whose pages may read with a token, e.g. https://maps.example.org; commas between."""

    @field_validator("oidc_issuer")
    @classmethod
    def _over_tls(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https:")
        loopback = parts.hostname in {"127.0.0.1", "localhost", "::1"}
        if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
            raise ValueError(f"{value!r} must begin with https://")
        return value
