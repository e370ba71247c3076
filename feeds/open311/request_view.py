"""A stored report and its case as the public may see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from civicstream.personal import mask_contacts
from civicstream.services import ServiceType
from feeds.open311.service_list import service_notice

__all__ = ["CLOSED_STATES", "RequestView", "StoredRequest"]

CLOSED_STATES = ("resolved", "rejected", "duplicate")


@dataclass(frozen=True)
class StoredRequest:
    """A row of ``reports`` with the newest version of its case, None while it has none."""

    id: str
    service: str
    lon: float
    lat: float
    description: str
    reported_at: datetime
    received_at: datetime
    address: str | None
    media_url: str | None
    state: str | None = None
    agency: str | None = None
    note: str | None = None
    updated_at: datetime | None = None
    due_at: datetime | None = None


@dataclass(frozen=True)
class RequestView:
    """Makes public what may be: positions rounded to ``decimals`` of a degree, no addresses
    unless ``addresses``, nothing of the reporter."""

    services: Mapping[str, ServiceType]
    decimals: int
    addresses: bool

    def show(self, found: StoredRequest) -> dict[str, Any]:
        """Return the request in the order of the specification."""
        service = self.services.get(found.service)
        due = found.due_at
        if due is None and service is not None:
            due = found.reported_at + timedelta(hours=service.target_h)
        agency = found.agency or (service.agency if service else None)
        return {
            "service_request_id": found.id,
            "status": "closed" if found.state in CLOSED_STATES else "open",
            "status_notes": _status_notes(found),
            "service_name": service.name if service else found.service,
            "service_code": found.service,
            "description": found.description,
            "agency_responsible": agency,
            "service_notice": service_notice(service) if service else None,
            "requested_datetime": _stamp(found.reported_at),
            "updated_datetime": _stamp(found.updated_at or found.received_at),
            "expected_datetime": _stamp(due) if due else None,
            "address": found.address if self.addresses else None,
            "address_id": None,
            "zipcode": None,
            "lat": round(found.lat, self.decimals),
            "long": round(found.lon, self.decimals),
            "media_url": found.media_url,
        }


def _status_notes(found: StoredRequest) -> str:
    """Return the case's state, which is finer than open and closed, and what was noted."""
    state = (found.state or "received").replace("_", " ")
    note = mask_contacts(found.note) if found.note else ""
    return f"{state}: {note}" if note else state


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
