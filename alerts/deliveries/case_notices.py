"""What citizens are notified of when the case of their report changes its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from alerts.deliveries.alert_texts import one_line
from civicstream.clock import rfc3339
from civicstream.personal import mask_contacts
from civicstream.service_events import Case

__all__ = ["Contact", "contacts", "notice_body", "notice_subject", "notice_text"]

_SAID = {
    "received": "has been received",
    "acknowledged": "has been seen and accepted",
    "assigned": "has been given to a crew",
    "in_progress": "is being worked on",
    "resolved": "has been resolved",
    "rejected": "will not be followed up",
    "duplicate": "is about a problem that was known already; both are followed up as one",
}


class Contact(msgspec.Struct, frozen=True):
    """Somebody to be notified, and the reports that are theirs."""

    way: str
    """``email`` or ``webhook``."""
    address: str
    reports: tuple[str, ...]


def contacts(opened: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Contact]:
    """Return whom to notify, once each, of (report, what is known of its reporter).

    Only who asked for it, in the report itself.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for report, person in opened:
        wish = person.get("notify")
        if wish == "email" and person.get("email"):
            found.setdefault(("email", str(person["email"])), []).append(report)
        elif isinstance(wish, str) and wish != "email":
            found.setdefault(("webhook", wish), []).append(report)
    return [Contact(way, address, tuple(reports)) for (way, address), reports in found.items()]


def notice_subject(case: Case) -> str:
    """Return e.g. ``Your report (pothole) is being worked on``."""
    return one_line(f"Your report ({case.service}) {_SAID[case.state]}", 200)


def notice_text(case: Case, contact: Contact, public_url: str) -> str:
    """Return the body of the mail."""
    lines = [f"{notice_subject(case)}."]
    if note := _note(case):
        lines += ["", f"The city writes: {note}"]
    lines += ["", f"Responsible: {one_line(case.agency)}"]
    lines += [f"{public_url}/open311/v2/requests/{report}.json" for report in contact.reports]
    lines += ["", "You get this mail because you asked for it when you reported.", ""]
    return "\n".join(lines)


def notice_body(case: Case, contact: Contact) -> bytes:
    """Return the body of the webhook; it says nothing that Open311 would not."""
    return msgspec.json.encode(
        {
            "type": "case",
            "service_request_ids": list(contact.reports),
            "state": case.state,
            "service_code": case.service,
            "agency_responsible": case.agency,
            "status_notes": _note(case),
            "updated_datetime": rfc3339(case.updated_at),
        }
    )


def _note(case: Case) -> str:
    """Return what was noted, without contacts; what the system notes is for operators."""
    return "" if case.changed_by == "system" else one_line(mask_contacts(case.note), 1_000)
