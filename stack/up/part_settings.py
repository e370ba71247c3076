"""What each part of the stack is given: its settings as environment, and a file for people."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, SecretStr

from civicstream.clock import Clock
from civicstream.settings import KafkaSettings, Settings
from stack.up.addresses import Addresses
from stack.up.options import StackOptions

__all__ = [
    "EMBEDDED_PARTITIONS",
    "Sections",
    "clock_section",
    "connection_sections",
    "kafka_settings",
    "part_environment",
    "replay_sections",
    "stack_sections",
]

Value = str | int | float | bool
Sections = dict[str, dict[str, Value]]
"""Settings by section, as the TOML file has them."""

_SESSION_TIMEOUT_MS = 6_000
"""On one machine a process that does not answer for so long is dead, and soon started again."""

_LOG_LIMIT_MB = 2_000
"""On a disk that is not a server's; at 500 readings/s and 40 bytes each, more than a day."""

EMBEDDED_PARTITIONS = 4
"""Enough for the few workers of one machine; every further one is more and smaller frames,
windows and records for the same readings."""


def stack_sections(
    settings: Settings,
    options: StackOptions,
    addresses: Addresses,
    database_url: str,
    data: Path,
    city: Path | None,
) -> Sections:
    """Return the settings that differ from the user's own, ``settings``."""
    mqtt: dict[str, Value] = {"host": addresses.mqtt_host, "port": addresses.mqtt_port}
    kafka: dict[str, Value] = {"bootstrap": addresses.kafka}
    if not options.mqtt:
        mqtt["tls"] = False
    if not options.kafka:
        kafka |= {"security_protocol": "PLAINTEXT", "session_timeout_ms": _SESSION_TIMEOUT_MS}
        for name, value in (("partitions", EMBEDDED_PARTITIONS), ("log_limit_mb", _LOG_LIMIT_MB)):
            if name not in settings.kafka.model_fields_set:
                kafka[name] = value
    sections: Sections = {
        "mqtt": mqtt,
        "kafka": kafka,
        "database": {"url": database_url},
        "worker": {"data_dir": str(data / "worker")},
        "feeds": {"port": addresses.http_port},
    }
    if city:
        sections["city"] = {"file": str(city)}
    return sections


def clock_section(clock: Clock) -> dict[str, Value]:
    """Return the section ``clock`` that declares the city's clock."""
    return {"wall_ms": clock.wall_ms, "city_ms": clock.city_ms, "speed": clock.speed}


def replay_sections(settings: Settings, speed: float, timezone: str, period_s: int) -> Sections:
    """Return what suits readings of ``period_s`` that come ``speed`` times too fast.

    Windows are as long as the period. All readings of a time come at once, so the next time
    closes a window; silence does so only after two periods, and never while this machine holds
    them up for less than 5 s. What the user has set stays.
    """
    wanted: Sections = {
        "windows": {"size_s": period_s, "idle_s": max(2 * period_s, 5 * speed)},
        # A second of the machine's is so long in the city.
        "gateway": {"max_future_skew_s": max(settings.gateway.max_future_skew_s, speed)},
        "city": {"timezone": timezone},
        # It compares flows; a recording of some of the vehicles makes losses up.
        "intelligence": {"incidents": "none"},
    }
    return {
        section: {
            name: value
            for name, value in values.items()
            if name not in getattr(settings, section).model_fields_set
        }
        for section, values in wanted.items()
    }


def part_environment(
    sections: Sections, config: Path | None, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment of a part: the caller's, overlaid with the stack's settings."""
    environment = dict(environ)
    if config:
        environment["CIVICSTREAM_CONFIG"] = str(config.resolve())
    for section, values in sections.items():
        for name, value in values.items():
            environment[f"CIVICSTREAM_{section}__{name}".upper()] = _text(value)
    # A log line is in the file when it is written, also before a kill -9.
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def kafka_settings(settings: Settings, sections: Sections) -> KafkaSettings:
    """Return the user's Kafka settings with the stack's address."""
    return KafkaSettings.model_validate(settings.kafka.model_dump() | sections["kafka"])


def connection_sections(settings: Settings, sections: Sections) -> Sections:
    """Return the user's own settings with the stack's over them, secrets in clear."""
    merged: Sections = {}
    for name in type(settings).model_fields:
        section: BaseModel = getattr(settings, name)
        own = section.model_dump(exclude_unset=True, exclude_none=True)
        values = {field: _plain(value) for field, value in own.items()}
        if values or name in sections:
            merged[name] = values | sections.get(name, {})
    return merged


def _plain(value: object) -> Value:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value if isinstance(value, bool | int | float) else str(value)


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
