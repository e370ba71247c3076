"""The receivers' file: read, checked as a whole, every error named by receiver and field."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from alerts.deliveries.channels import receiver_types
from alerts.deliveries.receivers import CitizensPlan, MailServer, Receiver
from civicstream.errors import ConfigurationError

__all__ = ["DeliveryPlan", "read_plan"]

_T = TypeVar("_T")
_TABLES = {"receiver", "smtp", "citizens"}


@dataclass(frozen=True)
class DeliveryPlan:
    """All of the receivers' file."""

    receivers: tuple[Receiver, ...] = ()
    mail: MailServer | None = None
    citizens: CitizensPlan | None = None


def read_plan(path: Path) -> DeliveryPlan:
    """Return what the file declares; raise ConfigurationError that lists every fault in it."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"receivers file {path}: {error.strerror}; set CIVICSTREAM_DELIVER__RECEIVERS_FILE"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"receivers file {path} is not TOML: {error}") from error
    faults = [f"no such table `{name}`" for name in sorted(found.keys() - _TABLES)]
    mail = _table(found, "smtp", MailServer, faults)
    citizens = _table(found, "citizens", CitizensPlan, faults)
    receivers = _receivers(found.get("receiver", []), faults)
    _check_together(receivers, mail, citizens, faults)
    if faults:
        raise ConfigurationError(f"receivers file {path}: " + "; ".join(faults))
    return DeliveryPlan(tuple(receivers), mail, citizens)


def _table(found: dict[str, Any], name: str, of: type[_T], faults: list[str]) -> _T | None:
    if name not in found:
        return None
    try:
        return msgspec.convert(found[name], type=of)
    except msgspec.ValidationError as error:
        faults.append(f"[{name}]: {_sentence(error)}")
        return None


def _receivers(listed: object, faults: list[str]) -> list[Receiver]:
    if not isinstance(listed, list):
        faults.append("receiver must be a list; write [[receiver]], with two brackets")
        return []
    receivers: list[Receiver] = []
    for number, table in enumerate(listed, 1):
        name = table.get("name") if isinstance(table, dict) else None
        where = f"receiver {number}" + (f" {name!r}" if name else "")
        try:
            receivers.append(msgspec.convert(table, type=receiver_types()))
        except msgspec.ValidationError as error:
            faults.append(f"{where}: {_sentence(error)}")
    return receivers


def _sentence(error: msgspec.ValidationError) -> str:
    """Return msgspec's error with the field in front: ``port: Expected `int` <= 65535``."""
    what, _, place = str(error).partition(" - at `$")
    field = place.rstrip("`").lstrip(".")
    return f"{field}: {what}" if field else what


def _check_together(
    receivers: list[Receiver],
    mail: MailServer | None,
    citizens: CitizensPlan | None,
    faults: list[str],
) -> None:
    names = [receiver.name for receiver in receivers]
    faults += [
        f"receiver {name!r}: the name is used twice; progress is kept by name"
        for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if "citizens" in names:
        faults.append("receiver 'citizens': the name is that of the table [citizens]")
    if mail is None:
        faults += [
            f"receiver {r.name!r}: type {r.__struct_config__.tag} needs the table [smtp]"
            for r in receivers
            if r.needs_mail_server
        ]
        if citizens is not None and citizens.mail:
            faults.append("[citizens]: mail needs the table [smtp], or set mail = false")
