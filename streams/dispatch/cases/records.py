"""What is remembered of cases, one msgspec struct per item of its state."""

from __future__ import annotations

from typing import Literal

import msgspec

from civicstream.service_events import Case, CaseState, Priority

__all__ = ["OPEN", "CaseRecord", "Credit", "EvidenceRecord", "ReporterRecord", "SeenReport"]

OPEN: frozenset[CaseState] = frozenset({"received", "acknowledged", "assigned", "in_progress"})


class Credit(msgspec.Struct, array_like=True):
    """What one reporter counts in a case, 0..1."""

    credit: float
    reopened: bool = False


class CaseRecord(msgspec.Struct):
    """One case; what ``Case`` shows of it, and what only dispatch needs."""

    id: str
    area: str
    service: str
    agency: str
    priority: Priority
    lon: float
    lat: float
    description: str
    opened_at: int
    term_start: int
    """The target counts from here: the opening, or the last reopening."""
    due_at: int
    first_seen: int
    last_seen: int
    """When the earliest and the latest report of it were made."""
    state: CaseState = "received"
    version: int = 0
    reports: int = 0
    reporters: dict[str, Credit] = {}
    weight: float = 0.0
    updated_at: int = 0
    closed_at: int | None = None
    unit: str | None = None
    suggested_service: str | None = None
    confirmed_by: list[str] = []
    breach: Literal["none", "near", "breached"] = "none"
    duplicate_of: str | None = None
    actions: list[str] = []
    """Ids of the last actions, so that one sent again does nothing."""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    def close(self, state: CaseState, now_ms: int) -> None:
        """End the case; its unit goes with it."""
        self.state, self.closed_at, self.unit = state, now_ms, None

    def reopen(self, state: CaseState, now_ms: int) -> None:
        """Begin a new term, with its own target and warnings."""
        self.state, self.closed_at, self.duplicate_of = state, None, None
        self.term_start, self.breach = now_ms, "none"

    def as_case(self, by: str, note: str, latest_report: str | None) -> Case:
        """Return this version as the world sees it."""
        return Case(
            id=self.id,
            version=self.version,
            state=self.state,
            area=self.area,
            service=self.service,
            agency=self.agency,
            priority=self.priority,
            lon=self.lon,
            lat=self.lat,
            description=self.description,
            reports=self.reports,
            reporters=len(self.reporters),
            weight=self.weight,
            opened_at=self.opened_at,
            updated_at=self.updated_at,
            due_at=self.due_at,
            changed_by=by,
            note=note,
            latest_report=latest_report,
            suggested_service=self.suggested_service,
            confirmed_by=list(self.confirmed_by),
            breach=self.breach,
            duplicate_of=self.duplicate_of,
        )


class SeenReport(msgspec.Struct, array_like=True):
    """A report that was taken in; known again until ``until``."""

    until: int


class ReporterRecord(msgspec.Struct, array_like=True):
    """How many problems a reporter has reported lately: ``recent`` as of ``at``, fading."""

    recent: float
    at: int


class EvidenceRecord(msgspec.Struct, array_like=True):
    """What a sensor or incident says, while it may confirm cases."""

    id: str
    source: str
    type: str
    lon: float
    lat: float
    reach_m: float
    since: int
    last_seen: int
    ended: bool
    until: int
    """Forgotten then."""
