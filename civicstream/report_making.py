"""From what a citizen sent, whichever way, to a Report and a sealed PersonalRecord."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from civicstream.addresses import AddressRegister, read_addresses
from civicstream.city import Point
from civicstream.errors import RejectedReading
from civicstream.personal import Privacy, mask_contacts
from civicstream.report_answers import check_answers
from civicstream.report_texts import (
    clean_line,
    clean_text,
    media_link,
    notify_wish,
    plain_code,
)
from civicstream.service_events import PersonalRecord, Report
from civicstream.services import ServiceType, load_services
from civicstream.settings import Settings

__all__ = ["MadeReport", "ReportMaker", "Submission"]

_LONGEST_ADDRESS = 300
_LONGEST_PERSONAL = 300
_POSITION_DECIMALS = 6  # 0.1 m; more is noise of the receiver


@dataclass(frozen=True)
class Submission:
    """A report as it was sent, decoded and nothing more."""

    channel: Literal["mqtt", "open311"]
    identity: str
    """Who sent it, e.g. ``mqtt:phone-17``; only its pseudonym goes on."""
    reference: str
    service: str
    reported_at: int
    """Epoch ms."""
    area: str | None = None
    """None: to be found from the place."""
    place: Point | None = None
    address: str | None = None
    address_id: str | None = None
    description: str = ""
    media_url: str | None = None
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    person: Mapping[str, str | None] = field(default_factory=dict)
    """Client, name, email, phone, account, how they want to be notified (``notify``) …: sealed."""


@dataclass(frozen=True)
class MadeReport:
    """What goes to Kafka: both, or neither."""

    report: Report
    personal: PersonalRecord


class ReportMaker:
    """Checks submissions. Raises ConfigurationError at once for a missing key or a wrong file."""

    def __init__(
        self,
        privacy: Privacy,
        services: Mapping[str, ServiceType],
        addresses: AddressRegister,
        *,
        max_description: int,
    ) -> None:
        self.privacy = privacy
        self.services = services
        self._addresses = addresses
        self._max_description = max_description

    @classmethod
    def from_settings(cls, settings: Settings) -> ReportMaker:
        reports = settings.reports
        return cls(
            Privacy.from_settings(settings.privacy),
            load_services(reports.services_file),
            read_addresses(reports.addresses_file),
            max_description=reports.max_description,
        )

    def service(self, code: str) -> ServiceType:
        """Return the service type; raise RejectedReading for a code that is none."""
        found = self.services.get(code)
        if found is None:
            raise RejectedReading(
                "unknown_service", f"there is no such service; codes: {', '.join(self.services)}"
            )
        return found

    def place(self, sent: Submission) -> Point:
        """Return where it is: the position sent, or that of the address in the register."""
        if sent.place is not None:
            return _checked_position(sent.place)
        if not sent.address and not sent.address_id:
            raise RejectedReading(
                "place_missing", "lon and lat, or an address, say where it is; none was sent"
            )
        found = self._addresses.find(sent.address_id, sent.address)
        if found is None:
            raise RejectedReading(
                "address_unknown",
                "the address is not in the city's register; send the position as well",
            )
        return found

    def make(self, sent: Submission, area: str, received_ms: int) -> MadeReport:
        """Return report and personal record; raise RejectedReading that says what is wrong.

        The sentence holds nothing that identifies a person.
        """
        service = self.service(sent.service)
        reference = plain_code(sent.reference, "reference")
        lon, lat = self.place(sent)
        original = clean_text(sent.description, "description", self._max_description)
        description = mask_contacts(original)
        address = clean_line(sent.address, "address", _LONGEST_ADDRESS) if sent.address else None
        pseudonym = self.privacy.pseudonym(sent.identity)
        report = Report(
            id=self.privacy.report_id(pseudonym, reference),
            area=area,
            service=service.code,
            lon=round(lon, _POSITION_DECIMALS),
            lat=round(lat, _POSITION_DECIMALS),
            description=description,
            reported_at=sent.reported_at,
            received_at=received_ms,
            channel=sent.channel,
            reporter=pseudonym,
            reference=reference,
            address=address and mask_contacts(address),
            media_url=media_link(sent.media_url) if sent.media_url else None,
            attributes=check_answers(service, sent.answers),
        )
        person = {
            name: clean_line(value, name, _LONGEST_PERSONAL)
            for name, value in sent.person.items()
            if value
        }
        if wish := person.get("notify"):
            person["notify"] = notify_wish(wish, has_email="email" in person)
        if original != description:
            person["description"] = original
        sealed = self.privacy.seal_person(person)
        return MadeReport(report, PersonalRecord(pseudonym, received_ms, report.id, sealed))


def _checked_position(place: Point) -> Point:
    lon, lat = place
    if not (math.isfinite(lon) and math.isfinite(lat)):
        raise RejectedReading("position_malformed", "lon and lat must be numbers (degrees)")
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise RejectedReading(
            "position_out_of_range",
            f"lon {lon:g}, lat {lat:g} is not on Earth (expected -180..180 and -90..90 degrees)",
        )
    if lon == 0 and lat == 0:
        # what receivers without a fix send; no city lies there
        raise RejectedReading("position_missing", "lon 0, lat 0 is no position; wait for a fix")
    return lon, lat
