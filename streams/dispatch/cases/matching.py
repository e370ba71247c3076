"""Which case a report belongs to: same service, near in place and time."""

from __future__ import annotations

from civicstream.geo import distance_m
from civicstream.service_events import Report
from civicstream.services import ServiceType
from streams.dispatch.cases.records import CaseRecord
from streams.dispatch.cases.rules import HOUR_MS
from streams.dispatch.cases.store import CaseStore

__all__ = ["find_case", "follow_duplicates"]


def find_case(
    store: CaseStore, service: ServiceType, report: Report, seen_at: int
) -> CaseRecord | None:
    """Return the case that the report joins or reopens, None when it is the first of its own.

    An open case goes before a closed one, then the nearest, then the oldest. A case that was
    merged into another stands for that one.
    """
    found: list[tuple[bool, float, int, str]] = []
    for near in store.near(service.code, report.lon, report.lat, service.duplicate_radius_m):
        case = follow_duplicates(store, near)
        if case is not None and _in_time(store, case, service, seen_at):
            away = distance_m(report.lon, report.lat, near.lon, near.lat)
            found.append((not case.is_open, away, case.opened_at, case.id))
    return store.cases.get(min(found)[3]) if found else None


def follow_duplicates(store: CaseStore, case: CaseRecord) -> CaseRecord | None:
    """Return the case that the chain of merges ends at, None when it is no longer at hand."""
    end: CaseRecord | None = case
    while end is not None and end.state == "duplicate":
        end = store.cases.get(end.duplicate_of or "")
    return end


def _in_time(store: CaseStore, case: CaseRecord, service: ServiceType, seen_at: int) -> bool:
    window = round(service.duplicate_window_h * HOUR_MS)
    if seen_at < case.first_seen - window:
        return False
    if case.closed_at is None:
        return seen_at <= case.last_seen + window
    return seen_at <= case.closed_at + round(store.rules.reopen_h * HOUR_MS)
