"""Evidence of sensors meets reports of people: whichever comes second confirms the case."""

from __future__ import annotations

from civicstream.geo import distance_m
from civicstream.service_events import Case
from streams.dispatch.cases.evidence import Evidence
from streams.dispatch.cases.records import CaseRecord, EvidenceRecord
from streams.dispatch.cases.rules import HOUR_MS
from streams.dispatch.cases.standing import settle
from streams.dispatch.cases.store import CaseStore

__all__ = ["confirm_by_known", "take_evidence"]


def take_evidence(store: CaseStore, evidence: Evidence, now_ms: int) -> list[Case]:
    """Keep the evidence and return the versions of the cases that it confirms.

    The end of something that never began is no evidence: most containers are not full.
    """
    if evidence.ended and evidence.id not in store.evidence:
        return []
    record = _kept(store, evidence)
    confirmed = []
    for service in store.services.values():
        if record.type not in service.confirmed_by:
            continue
        reach = service.duplicate_radius_m + record.reach_m
        for case in store.near(service.code, record.lon, record.lat, reach):
            if case.is_open and _confirm(store, case, record):
                settle(case, service, store.rules, new_term=False)
                confirmed.append(
                    store.next_version(case, now_ms, "system", f"confirmed by {record.source}")
                )
    return confirmed


def confirm_by_known(store: CaseStore, case: CaseRecord) -> list[str]:
    """Let evidence that is at hand confirm the case; return the new sources."""
    service = store.service_of(case)
    if not service.confirmed_by:
        return []
    reach = service.duplicate_radius_m + store.longest_reach_m
    around = store.evidence_places.near(case.lon, case.lat, reach)
    known = [store.evidence.get(key) for _, key in around]
    return [e.source for e in known if e is not None and _confirm(store, case, e)]


def _kept(store: CaseStore, evidence: Evidence) -> EvidenceRecord:
    """Keep what is new of the evidence. Its type stays: at its end a value is usual again."""
    rules = store.rules
    before = store.evidence.get(evidence.id)
    hold_h = rules.evidence_slack_h if evidence.ended else rules.evidence_silent_h
    # Replayed records may be older than what is known.
    last_seen = max(evidence.last_seen, before.last_seen if before else evidence.last_seen)
    record = EvidenceRecord(
        id=evidence.id,
        source=evidence.source,
        type=before.type if before else evidence.type,
        lon=evidence.lon,
        lat=evidence.lat,
        reach_m=evidence.reach_m,
        since=min(evidence.since, before.since if before else evidence.since),
        last_seen=last_seen,
        ended=evidence.ended,
        until=last_seen + round(hold_h * HOUR_MS),
    )
    store.keep_evidence(record)
    return record


def _confirm(store: CaseStore, case: CaseRecord, evidence: EvidenceRecord) -> bool:
    """Note the evidence in the case if it fits and is new to it; return whether it does."""
    rules, service = store.rules, store.service_of(case)
    slack = round(rules.evidence_slack_h * HOUR_MS)
    away = distance_m(case.lon, case.lat, evidence.lon, evidence.lat)
    fits = (
        evidence.type in service.confirmed_by
        and away <= service.duplicate_radius_m + evidence.reach_m
        and case.last_seen >= evidence.since - slack
        # As long as it has not ended it holds: sensors report changes, not every minute.
        and (not evidence.ended or case.last_seen <= evidence.last_seen + slack)
    )
    new = evidence.source not in case.confirmed_by
    if not (fits and new and len(case.confirmed_by) < rules.max_confirmations):
        return False
    case.confirmed_by.append(evidence.source)
    return True
