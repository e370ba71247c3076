"""All cases: one after the other, what happens becomes versions of cases.

Pure and deterministic: the same state and the same events give the same ids and versions.
docs/reports.md explains the rules.
"""

from __future__ import annotations

from collections.abc import Mapping

from civicstream.city import City
from civicstream.events import Anomaly, DeadLetter, Incident
from civicstream.service_events import Action, Allocation, BinForecast, Case, Report, Unit
from civicstream.services import ServiceType
from streams.dispatch.cases.corroboration import take_evidence
from streams.dispatch.cases.decisions import CaseDecisions
from streams.dispatch.cases.evidence import Evidence, EvidenceReader
from streams.dispatch.cases.records import CaseRecord
from streams.dispatch.cases.reports import CaseReports
from streams.dispatch.cases.rules import CaseRules
from streams.dispatch.cases.standing import next_deadline
from streams.dispatch.cases.store import CaseStore

__all__ = ["CaseEvent", "CaseProcessor"]

CaseEvent = Report | Action | Allocation | Unit | Incident | Anomaly | BinForecast | Evidence
"""Events that it takes in."""


class CaseProcessor:
    """All cases of a city."""

    def __init__(
        self, services: Mapping[str, ServiceType], city: City, rules: CaseRules | None = None
    ) -> None:
        rules = rules or CaseRules()
        self._store = CaseStore(services, rules)
        self._reports = CaseReports(self._store)
        self._decisions = CaseDecisions(self._store)
        self._evidence = EvidenceReader(city, rules.evidence_reach_m)

    def __len__(self) -> int:
        """Return how many cases are at hand, closed ones included."""
        return len(self._store.cases)

    def apply(self, event: CaseEvent, now_ms: int) -> list[Case | DeadLetter]:
        """Return what follows from an event: versions of cases, or dead letters that refuse it.

        Dead letters are for the topic ``deadletter``. An event that came before changes nothing.
        """
        match event:
            case Report():
                return self._reports.take(event, now_ms)
            case Action():
                return self._decisions.act(event, now_ms)
            case Allocation():
                return [*self._decisions.follow_allocation(event, now_ms)]
            case Unit():
                return [*self._decisions.follow_unit(event, now_ms)]
        evidence = self._read(event)
        return [] if evidence is None else [*take_evidence(self._store, evidence, now_ms)]

    def examine(self, action: Action, now_ms: int) -> list[DeadLetter] | None:
        """Return None when a case allows an action that somebody else carries out.

        Else the dead letters that refuse it; none for one that came before.
        """
        return self._decisions.examine(action, now_ms)

    def remark(self, case_id: str, by: str, note: str, now_ms: int) -> list[Case]:
        """Return the next version of a case: a note, and its state as it was."""
        return self._decisions.remark(case_id, by, note, now_ms)

    def _read(self, event: Incident | Anomaly | BinForecast | Evidence) -> Evidence | None:
        match event:
            case Incident():
                return self._evidence.of_incident(event)
            case Anomaly():
                return self._evidence.of_anomaly(event)
            case BinForecast():
                return self._evidence.of_bin(event)
        return event

    def tick(self, now_ms: int) -> list[Case]:
        """Return the warnings that are due: near the target and at it, once each per term.

        After a pause that skipped both, only the breach is published. Forgets what is old.
        """
        warnings = []
        for record in self._store.due(now_ms):
            if record.closed_at is not None:
                self._store.forget_case(record)
            else:
                warnings.append(self._warn(record, now_ms))
        return warnings

    def _warn(self, record: CaseRecord, now_ms: int) -> Case:
        record.breach = "near"
        note = "the target is near"
        if (next_deadline(record, self._store.rules) or 0) <= now_ms:
            record.breach, note = "breached", "not resolved by its target"
        return self._store.next_version(record, now_ms, "system", note)

    def changed(self) -> dict[str, bytes | None]:
        """Return the items of state that changed since the last call; None: drop that key."""
        return self._store.changed()

    def restore(self, items: Mapping[str, bytes]) -> None:
        """Go on from all items that ``changed`` gave so far, into one that is new.

        Raises DataError, naming the key, for what is none of its state.
        """
        self._store.restore(items)
