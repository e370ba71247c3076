"""All settings: from ``CIVICSTREAM_…`` environment variables, then an optional TOML file.

A section's field is ``CIVICSTREAM_<SECTION>__<FIELD>``, e.g. ``CIVICSTREAM_KAFKA__BOOTSTRAP``.
Secrets may come as files from the folder ``CIVICSTREAM_SECRETS_DIR`` (default /run/secrets),
named like the variable in lower case, e.g. ``civicstream_database__url``. Everything is
validated before any connection is made; an unknown name is an error, not a silent default.
"""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from civicstream.clock import REAL, Clock
from civicstream.errors import ConfigurationError
from civicstream.settings_front import (
    AccessSettings,
    AlertsSettings,
    DeliverSettings,
    FeedsSettings,
    PrivacySettings,
    ReportSettings,
)
from civicstream.settings_section import Name, Section

__all__ = [
    "AccessSettings",
    "AlertsSettings",
    "AllocationSettings",
    "CitySettings",
    "ClockSettings",
    "DatabaseSettings",
    "DeliverSettings",
    "FeedsSettings",
    "GatewaySettings",
    "IntelligenceSettings",
    "KafkaSettings",
    "MqttSettings",
    "PrivacySettings",
    "ReportSettings",
    "Settings",
    "SinkSettings",
    "WindowSettings",
    "WorkerSettings",
    "environment_names",
    "load_settings",
]

ENV_PREFIX = "CIVICSTREAM_"
_SPECIAL = {"CIVICSTREAM_CONFIG", "CIVICSTREAM_SECRETS_DIR"}


class MqttSettings(Section):
    """The MQTT broker."""

    host: str = "127.0.0.1"
    port: int = Field(1883, ge=1, le=65535)
    username: str | None = None
    password: SecretStr | None = None
    tls: bool = False
    ca_file: Path | None = None
    root: str = Field("city/v1", pattern=r"^[^#+]+[^/#+]$")
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """auto: MQTT 5, and 3.1.1 when the broker refuses it."""
    keepalive_s: int = Field(30, ge=5, le=3600)


class KafkaSettings(Section):
    """Kafka or a broker that speaks its protocol."""

    bootstrap: str = "127.0.0.1:9092"
    topic_prefix: Name = "city"
    partitions: int = Field(8, ge=1, le=10_000)
    replication: int = Field(1, ge=1, le=10)
    min_insync_replicas: int | None = Field(None, ge=1, le=10)
    """Copies that must have a record before it is confirmed; None: 2 of 3 or more, else 1."""
    log_limit_mb: int | None = Field(None, ge=100)
    """What all topics may take on a broker's disk; beyond it the oldest records go, read or not.
    None: nothing but each topic's retention time bounds them."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None
    passwords_dir: Path = Path("data/kafka-passwords")
    """`init --kafka-acls` takes each part's password from here; missing ones it makes."""
    session_timeout_ms: int = Field(10_000, ge=1_000, le=300_000)

    @property
    def addresses(self) -> list[str]:
        """The bootstrap addresses, ``host:port`` each."""
        return [address.strip() for address in self.bootstrap.split(",")]

    @property
    def insync(self) -> int:
        """How many copies must have a record before it is confirmed."""
        return self.min_insync_replicas or (2 if self.replication >= 3 else 1)

    @model_validator(mode="after")
    def _enough_copies(self) -> Self:
        if self.insync > self.replication:
            raise ValueError(
                f"min_insync_replicas {self.insync} is more than replication {self.replication}: "
                "nothing could be written"
            )
        return self

    def scoped(self, name: str) -> str:
        """Return ``name`` below the topic prefix: consumer groups and transactional ids.

        Two cities on one Kafka never share a group, and one prefixed ACL covers each city.
        """
        return f"{self.topic_prefix}.{name}"


class DatabaseSettings(Section):
    """PostgreSQL or TimescaleDB. ``url`` is what the running parts use, ``owner_url`` `init`."""

    url: SecretStr = SecretStr("postgresql://127.0.0.1:5432/civicstream")
    owner_url: SecretStr | None = None
    writer_password: SecretStr | None = None
    """`init` gives the role civicstream_writer this password; without it the role cannot log in."""
    reader_password: SecretStr | None = None
    private_password: SecretStr | None = None
    """The same for civicstream_private, which alone may read citizens' sealed data."""
    private_url: SecretStr | None = None
    """What `forget` uses, as civicstream_private; None: ``owner_url``, or else ``url``."""
    chunk_days: float = Field(1.0, gt=0, le=365)
    readings_retention_days: int = Field(30, ge=1)
    results_retention_days: int = Field(730, ge=1)
    forecasts_retention_days: int = Field(14, ge=1)
    dead_letters_retention_days: int = Field(90, ge=1)
    reports_retention_days: int = Field(730, ge=1)
    """Reports, cases, allocations and decisions."""
    units_retention_days: int = Field(30, ge=1)
    """Where crews were, and what areas needed of a service."""
    personal_retention_days: int = Field(365, ge=1)
    """Citizens' sealed data."""


class GatewaySettings(Section):
    """The MQTT gateway."""

    id: Name = Field(default_factory=lambda: f"gateway-{socket.gethostname()}"[:80])
    shared_group: Name | None = None
    """Several gateways share the load as $share/<group>/…; each needs its own id."""
    max_frame_readings: int = Field(1_000, ge=1, le=100_000)
    max_frame_age_ms: int = Field(400, ge=1, le=10_000)
    """A reading waits at most so long for others to share its frame: frames are what costs."""
    max_frame_idle_ms: int = Field(30, ge=1, le=10_000)
    """When no reading has come for so long none waits longer: the broker may hold back the next
    ones until these are acknowledged."""
    max_in_flight: int = Field(20_000, ge=1, le=65_535)
    """Messages received and not yet acked; the broker holds the rest."""
    max_in_flight_bytes: int = Field(256 * 1024 * 1024, ge=1024 * 1024)
    """Payload bytes received and not yet on Kafka; above it nothing more is read."""
    park_after_s: float = Field(10, ge=1, le=3600)
    """When Kafka confirms other partitions and one of them for so long nothing, its records are
    parked; in half the time when half of ``max_in_flight`` waits."""
    session_expiry_s: int = Field(7 * 86_400, ge=60, le=0xFFFF_FFFE)
    """How long an MQTT 5 broker keeps messages for a gateway that is away."""
    max_payload_bytes: int = Field(256 * 1024, ge=1024)
    max_future_skew_s: float = Field(30, ge=0)
    strict_sensors: bool = False
    """Reject sensors that the city model does not know."""
    new_sensors_per_hour: int = Field(20_000, ge=1)
    """So many sensors that the city model does not know are taken in; more are rejected."""
    new_areas_per_hour: int = Field(500, ge=1)


class WindowSettings(Section):
    """Event-time windows."""

    size_s: int = Field(60, ge=1, le=86_400)
    lateness_s: float = Field(30, ge=0)
    out_of_orderness_s: float = Field(5, ge=0)
    idle_s: float = Field(15, gt=0)
    """A partition that is silent for this time has its open windows closed."""
    provisional_every_s: float = Field(2, gt=0)


class IntelligenceSettings(Section):
    """What the worker concludes from final windows; docs/traffic.md."""

    sensor_health: bool = True
    """Watch every sensor; leave broken ones out of the results, report what is unusual."""
    incidents: Literal["none", "queue_discharge", "california8", "snd"] = "queue_discharge"
    """The incident detection algorithm."""
    forecasts: bool = True
    """Forecast speed and flow of every segment."""


class AllocationSettings(Section):
    """Cases of citizens' reports and who is sent where; docs/allocation.md."""

    enabled: bool = True
    policy: Literal["optimal", "nearest_unit", "first_come_first_served"] = "optimal"
    plan_every_s: float = Field(10, ge=1, le=3600)


class WorkerSettings(Section):
    """The Faust worker."""

    app: Name = "civicstream-streams"
    id: Name = Field(default_factory=lambda: f"worker-{socket.gethostname()}"[:80])
    data_dir: Path = Path("data/worker")


class SinkSettings(Section):
    """The TimescaleDB sink."""

    group: Name = "civicstream-sink"
    id: Name = Field(default_factory=lambda: f"sink-{socket.gethostname()}"[:80])
    max_batch_rows: int = Field(50_000, ge=1)
    max_batch_age_ms: int = Field(250, ge=1)
    static_member: bool = False
    """Keep the partitions over a restart (Kafka's static membership, by ``id``), so that it costs
    no rebalance."""
    maintenance_every_s: float = Field(3600, gt=0)
    """How often rows past their retention are removed."""


class CitySettings(Section):
    """The city model."""

    file: Path | None = None
    """GeoJSON with areas, segments and sensors; see docs/city.md."""
    timezone: str = "UTC"
    """IANA name, e.g. Europe/Berlin: daily courses are learned by local time, so that they stay
    where they are when clocks change."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"{value!r} is no time zone known here; expected an IANA name like Europe/Berlin"
            ) from None
        return value


class ClockSettings(Section):
    """The city's clock where it is not the machine's: a replay, a simulated hour; docs/replay.md.

    The same for all parts of one city; `civicstream up` sets it.
    """

    wall_ms: int = Field(REAL.wall_ms, ge=0)
    """Up to this time of the machine [epoch ms] ..."""
    city_ms: int = Field(REAL.city_ms, ge=0)
    """... it is this time in the city, no later ..."""
    speed: float = Field(REAL.speed, gt=0, le=100_000)
    """... and from there it runs so many times as fast, until it has caught up."""

    @model_validator(mode="after")
    def _behind(self) -> ClockSettings:
        if self.city_ms > self.wall_ms:
            raise ValueError(
                f"city_ms {self.city_ms} is after wall_ms {self.wall_ms}: the city's clock is "
                "never ahead of the machine's"
            )
        return self

    def clock(self) -> Clock:
        return Clock(self.wall_ms, self.city_ms, self.speed)


class Settings(Section):
    """Everything; a section a part."""

    mqtt: MqttSettings = MqttSettings()
    kafka: KafkaSettings = KafkaSettings()
    database: DatabaseSettings = DatabaseSettings()
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    windows: WindowSettings = WindowSettings()
    intelligence: IntelligenceSettings = IntelligenceSettings()
    allocation: AllocationSettings = AllocationSettings()
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    sink: SinkSettings = Field(default_factory=SinkSettings)
    reports: ReportSettings = ReportSettings()
    privacy: PrivacySettings = PrivacySettings()
    feeds: FeedsSettings = Field(default_factory=FeedsSettings)
    alerts: AlertsSettings = Field(default_factory=AlertsSettings)
    deliver: DeliverSettings = Field(default_factory=DeliverSettings)
    access: AccessSettings = AccessSettings()
    city: CitySettings = CitySettings()
    clock: ClockSettings = ClockSettings()


def environment_names() -> set[str]:
    """Return every environment variable that is a setting."""
    names = set(_SPECIAL)
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)  # noqa: S101, PT018
        names |= {f"{ENV_PREFIX}{section}__{name}".upper() for name in model.model_fields}
    return names


def load_settings(path: Path | None = None, environ: dict[str, str] | None = None) -> Settings:
    """Return the validated settings; raise ConfigurationError that names each bad one.

    Precedence: environment, secrets folder, TOML file (``path`` or ``CIVICSTREAM_CONFIG``),
    defaults.
    """
    env = dict(os.environ) if environ is None else environ
    path = path or (Path(env["CIVICSTREAM_CONFIG"]) if env.get("CIVICSTREAM_CONFIG") else None)
    values: dict[str, Any] = _read_toml(path) if path else {}
    _overlay(values, _read_secrets(Path(env.get("CIVICSTREAM_SECRETS_DIR", "/run/secrets"))))
    _overlay(values, {k: v for k, v in env.items() if k.startswith(ENV_PREFIX)})
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path)) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"settings file {path} is not TOML: {error}") from error


def _read_secrets(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    files = (f for f in folder.iterdir() if f.name.upper().startswith(ENV_PREFIX) and f.is_file())
    return {f.name.upper(): f.read_text(encoding="utf-8").strip() for f in files}


def _overlay(values: dict[str, Any], variables: dict[str, str]) -> None:
    known = environment_names()
    for name, text in variables.items():
        if name not in known:
            raise ConfigurationError(
                f"environment variable {name} is not a setting; did you mean "
                f"{_closest(name, known)}?"
            )
        if name not in _SPECIAL:
            section, field = name.removeprefix(ENV_PREFIX).lower().split("__", 1)
            values.setdefault(section, {})[field] = text


def _closest(name: str, known: set[str]) -> str:
    import difflib

    return difflib.get_close_matches(name, known, n=1, cutoff=0)[0]


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{place}: no such setting" + (f" (in {path})" if path else ""))
        else:
            lines.append(f"{place}: {item['msg']}")
    return "settings: " + "; ".join(lines)
