"""A report comes in: known already, refused, joined to a case, or the first of a new one."""

from __future__ import annotations

import hashlib

from civicstream.events import DeadLetter
from civicstream.service_events import Case, Report
from civicstream.services import ServiceType
from streams.dispatch.cases.corroboration import confirm_by_known
from streams.dispatch.cases.dead_letters import refused_report
from streams.dispatch.cases.matching import find_case
from streams.dispatch.cases.places import is_place
from streams.dispatch.cases.records import CaseRecord, Credit, ReporterRecord
from streams.dispatch.cases.rules import HOUR_MS
from streams.dispatch.cases.standing import credit_of, faded, settle
from streams.dispatch.cases.store import CaseStore
from streams.dispatch.cases.suggestion import Suggester
from streams.dispatch.cases.text import clean_text

__all__ = ["CaseReports"]


class CaseReports:
    """Reports become cases."""

    def __init__(self, store: CaseStore) -> None:
        self._store = store
        self._suggester = Suggester(store.services)

    def take(self, report: Report, now_ms: int) -> list[Case | DeadLetter]:
        """Return the version that the report makes, a dead letter if it is refused, or nothing.

        Nothing for a report that was taken already.
        """
        store = self._store
        if report.id in store.seen:
            return []
        # A clock that is ahead must not make a report newer than its receipt.
        seen_at = min(report.reported_at, report.received_at, now_ms)
        until = seen_at + round(store.rules.report_memory_h * HOUR_MS)
        problem = self._problem(report, until, now_ms)
        if problem is not None:
            return [refused_report(report, *problem, now_ms)]
        store.keep_report(report.id, until)
        service = store.services[report.service]
        found = find_case(store, service, report, seen_at)
        if found is None:
            return [self._open(report, service, seen_at, now_ms)]
        return [self._join(found, report, seen_at, now_ms)]

    def _problem(self, report: Report, until: int, now_ms: int) -> tuple[str, str] | None:
        """Return reason and sentence when the report cannot become a case."""
        if report.service not in self._store.services:
            return "unknown_service", (
                f"service {report.service!r} is not among the services of this city; "
                "add it to the services file and send the report again"
            )
        if not is_place(report.lon, report.lat):
            return "bad_position", (
                f"lon {report.lon}, lat {report.lat} is no place on earth; "
                "expected degrees within -180..180 and -90..90"
            )
        if until <= now_ms:
            hours = self._store.rules.report_memory_h
            return "too_old", (
                f"made more than {hours / 24:g} days ago: whether it was counted already is not "
                "known any more; report the problem anew if it is still there"
            )
        return None

    def _open(self, report: Report, service: ServiceType, seen_at: int, now_ms: int) -> Case:
        text, done = clean_text(report.description, self._store.rules.max_description)
        record = CaseRecord(
            id=f"c-{hashlib.blake2b(report.id.encode(), digest_size=8).hexdigest()}",
            area=report.area,
            service=service.code,
            agency=service.agency,
            priority=service.priority,
            lon=report.lon,
            lat=report.lat,
            description=text,
            opened_at=report.received_at,
            term_start=report.received_at,
            due_at=report.received_at,
            first_seen=seen_at,
            last_seen=seen_at,
            reports=1,
            suggested_service=self._suggester.suggest(service.code, text),
        )
        self._store.place(record)
        self._count(record, report.reporter, now_ms)
        return self._next_version(
            record, report, service, ["reported", *done], now_ms, new_term=True
        )

    def _join(self, record: CaseRecord, report: Report, seen_at: int, now_ms: int) -> Case:
        service = self._store.service_of(record)
        reopens = _reopens(record, report.reporter, seen_at)
        new = self._count(record, report.reporter, now_ms)
        record.reports += 1
        record.first_seen = min(record.first_seen, seen_at)
        record.last_seen = max(record.last_seen, seen_at)
        if record.suggested_service is None and report.service == record.service:
            text, _ = clean_text(report.description, self._store.rules.max_description)
            record.suggested_service = self._suggester.suggest(record.service, text)
        notes = ["reported by someone else too" if new else "reported again"]
        if reopens:
            notes.append(f"reopened: it was {record.state}")
            record.reopen("received", now_ms)
            if report.reporter in record.reporters:
                record.reporters[report.reporter].reopened = True
        return self._next_version(record, report, service, notes, now_ms, new_term=reopens)

    def _next_version(
        self,
        record: CaseRecord,
        report: Report,
        service: ServiceType,
        notes: list[str],
        now_ms: int,
        *,
        new_term: bool,
    ) -> Case:
        if record.is_open:
            notes += [f"confirmed by {s}" for s in confirm_by_known(self._store, record)]
        if record.suggested_service is not None:
            notes.append(f"the text speaks of {record.suggested_service}")
        settle(record, service, self._store.rules, new_term=new_term)
        note = "; ".join(notes)
        return self._store.next_version(record, now_ms, "system", note, latest_report=report.id)

    def _count(self, record: CaseRecord, reporter: str, now_ms: int) -> bool:
        """Count the reporter in the case; return whether they are new to it."""
        store, rules = self._store, self._store.rules
        if reporter in record.reporters:
            return False
        before = store.reporters.get(reporter)
        recent = faded(before, now_ms, rules) + 1
        at = max(now_ms, before.at if before else now_ms)
        store.keep_reporter(reporter, ReporterRecord(recent, at))
        if len(record.reporters) < rules.max_reporters:
            record.reporters[reporter] = Credit(credit_of(recent, rules))
        return True


def _reopens(record: CaseRecord, reporter: str, seen_at: int) -> bool:
    """Whether a new report says that a closed case was closed too early."""
    if record.closed_at is None or seen_at <= record.closed_at:
        return False
    known = record.reporters.get(reporter)
    if record.state == "rejected":
        # The same person asking again is not news; a second one is.
        return known is None
    return known is None or not known.reopened
