"""The city's address register: finds the place of a report that gives only an address."""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from civicstream.city import Point
from civicstream.errors import ConfigurationError

__all__ = ["AddressRegister", "read_addresses"]

_COLUMNS = {"address_id", "address", "lon", "lat"}


def _plain(address: str) -> str:
    """Return the address without case, accents, commas and double spaces."""
    letters = unicodedata.normalize("NFKD", address.casefold())
    kept = "".join(c if c.isalnum() else " " for c in letters if not unicodedata.combining(c))
    return " ".join(kept.split())


@dataclass(frozen=True)
class AddressRegister:
    """Places by the register's own id and by the address as people write it."""

    by_id: dict[str, Point] = field(default_factory=dict)
    by_address: dict[str, Point] = field(default_factory=dict)

    def find(self, address_id: str | None, address: str | None) -> Point | None:
        """Return the place, None where the register has neither."""
        if address_id is not None and address_id in self.by_id:
            return self.by_id[address_id]
        return self.by_address.get(_plain(address)) if address else None


def read_addresses(path: Path | None) -> AddressRegister:
    """Return the register in the CSV file ``path``, an empty one for None.

    Raise ConfigurationError that names file, line and remedy. Where two lines share an address
    the first one counts.
    """
    register = AddressRegister()
    if path is None:
        return register
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := _COLUMNS - set(rows.fieldnames or ()):
                raise ConfigurationError(
                    f"address file {path}: no column {', '.join(sorted(missing))}; "
                    "the first line must name address_id, address, lon, lat"
                )
            for row in rows:
                _add(register, row, f"address file {path}, line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(
            f"address file {path}: {error}; set CIVICSTREAM_REPORTS__ADDRESSES_FILE"
        ) from error
    return register


def _add(register: AddressRegister, row: dict[str, str], where: str) -> None:
    try:
        place = (float(row["lon"]), float(row["lat"]))
    except (TypeError, ValueError):
        raise ConfigurationError(f"{where}: lon and lat must be numbers (degrees)") from None
    if not (-180 <= place[0] <= 180 and -90 <= place[1] <= 90):
        raise ConfigurationError(f"{where}: lon {place[0]}, lat {place[1]} is not on Earth")
    if row["address_id"]:
        register.by_id.setdefault(row["address_id"], place)
    if plain := _plain(row["address"] or ""):
        register.by_address.setdefault(plain, place)
