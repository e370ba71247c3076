"""All that is remembered of cases: items by key, what changed, and what time will change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from civicstream.service_events import Case
from civicstream.services import ServiceType
from streams.dispatch.cases.agenda import Agenda
from streams.dispatch.cases.places import PlaceIndex
from streams.dispatch.cases.records import CaseRecord, EvidenceRecord, ReporterRecord, SeenReport
from streams.dispatch.cases.rules import HOUR_MS, CaseRules
from streams.dispatch.cases.standing import forgotten_at, next_deadline
from streams.runtime.state_items import StateStore

__all__ = ["CaseStore"]

_EVIDENCE_CELL_M = 500.0
_LEAST_CELL_M = 25.0


class CaseStore:
    """State of the cases; the same items give the same state."""

    def __init__(self, services: Mapping[str, ServiceType], rules: CaseRules) -> None:
        self.services = services
        self.rules = rules
        self._items = StateStore("case")
        self.cases = self._items.table("case", CaseRecord, str)
        self.seen = self._items.table("seen", SeenReport, str)
        self.reporters = self._items.table("reporter", ReporterRecord, str)
        self.evidence = self._items.table("evidence", EvidenceRecord, str)
        self.places: dict[str, PlaceIndex] = {}
        """Of the cases, per service."""
        self.evidence_places = PlaceIndex(_EVIDENCE_CELL_M)
        self.longest_reach_m = 0.0
        """Of any evidence so far."""
        self._agenda = Agenda()

    def service_of(self, record: CaseRecord) -> ServiceType:
        """Return the service of a case; one that the city no longer has goes on as it was."""
        known = self.services.get(record.service)
        if known is not None:
            return known
        return ServiceType(
            code=record.service,
            name=record.service,
            description="",
            group="",
            agency=record.agency,
            skill="",
            priority=record.priority,
            target_h=max(record.due_at - record.term_start, 1) / HOUR_MS,
            duplicate_radius_m=_LEAST_CELL_M,
            duplicate_window_h=1.0,
            work_min=1.0,
        )

    def next_version(
        self, record: CaseRecord, now_ms: int, by: str, note: str, latest_report: str | None = None
    ) -> Case:
        """Make the next version of a case: kept, scheduled, and returned to be published."""
        record.version += 1
        record.updated_at = now_ms
        self.cases[record.id] = record
        self._agenda.put(self.cases.key(record.id), next_deadline(record, self.rules))
        return record.as_case(by, note, latest_report)

    def place(self, record: CaseRecord) -> None:
        """Let the case be found by its place and service, wherever it was found before."""
        for index in self.places.values():
            index.remove(record.id)
        self._index_of(record.service).add(record.id, record.lon, record.lat)

    def _index_of(self, service: str) -> PlaceIndex:
        if service not in self.places:
            known = self.services.get(service)
            radius = known.duplicate_radius_m if known else _LEAST_CELL_M
            self.places[service] = PlaceIndex(max(radius, _LEAST_CELL_M))
        return self.places[service]

    def near(self, service: str, lon: float, lat: float, radius_m: float) -> list[CaseRecord]:
        """Return the cases of a service within the radius, the nearest first."""
        index = self.places.get(service)
        found = index.near(lon, lat, radius_m) if index else []
        return [record for _, key in found if (record := self.cases.get(key)) is not None]

    def forget_case(self, record: CaseRecord) -> None:
        self.places[record.service].remove(record.id)
        self.cases.discard(record.id)

    def keep_evidence(self, evidence: EvidenceRecord) -> None:
        self.evidence[evidence.id] = evidence
        self._place_evidence(evidence)

    def _place_evidence(self, evidence: EvidenceRecord) -> None:
        self.evidence_places.add(evidence.id, evidence.lon, evidence.lat)
        self.longest_reach_m = max(self.longest_reach_m, evidence.reach_m)
        self._agenda.put(self.evidence.key(evidence.id), evidence.until)

    def forget_evidence(self, evidence_id: str) -> None:
        self.evidence_places.remove(evidence_id)
        self.evidence.discard(evidence_id)

    def keep_report(self, report_id: str, until: int) -> None:
        """Know a report again until then."""
        self.seen[report_id] = SeenReport(until)
        self._agenda.put(self.seen.key(report_id), until)

    def keep_reporter(self, pseudonym: str, reporter: ReporterRecord) -> None:
        self.reporters[pseudonym] = reporter
        self._agenda.put(self.reporters.key(pseudonym), forgotten_at(reporter, self.rules))

    def due(self, now_ms: int) -> Iterator[CaseRecord]:
        """Forget what is old; yield the cases that time has come for, in order of time."""
        for key in self._agenda.due(now_ms):
            name, _, item_id = key.partition("/")
            if name == "case":
                record = self.cases.get(item_id)
                if record is not None:
                    yield record
            elif name == "evidence":
                self.forget_evidence(item_id)
            elif name == "reporter":
                self.reporters.discard(item_id)
            else:
                self.seen.discard(item_id)

    def changed(self) -> dict[str, bytes | None]:
        """Return the items that changed since the last call, by key; None: dropped."""
        return self._items.changed()

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from items that ``changed`` gave, into an empty store; DataError for others."""
        self._items.restore(items)
        for case in self.cases.values():
            self.place(case)
            self._agenda.put(self.cases.key(case.id), next_deadline(case, self.rules))
        for evidence in self.evidence.values():
            self._place_evidence(evidence)
        for pseudonym, reporter in self.reporters.items():
            key = self.reporters.key(pseudonym)
            self._agenda.put(key, forgotten_at(reporter, self.rules))
        for report_id, seen in self.seen.items():
            self._agenda.put(self.seen.key(report_id), seen.until)
