"""What cannot be taken in becomes a dead letter that says why and what to do."""

from __future__ import annotations

import msgspec

from civicstream.events import DeadLetter
from civicstream.kafka.dead_letter import Origin, make_dead_letter
from civicstream.service_events import Action, Report

__all__ = ["refused_action", "refused_report"]

_encode = msgspec.json.Encoder().encode


def refused_report(report: Report, reason: str, detail: str, now_ms: int) -> DeadLetter:
    """Return the dead letter of a report that makes no case; it holds no personal data."""
    return _letter(
        "reports", "report", _encode(report), reason, f"report {report.id}: {detail}", now_ms
    )


def refused_action(action: Action, reason: str, detail: str, now_ms: int) -> DeadLetter:
    """Return the dead letter of a decision that cannot be carried out."""
    what = f"action {action.action!r} of {action.by} on {action.subject}: {detail}"
    return _letter("actions", "action", _encode(action), reason, what, now_ms)


def _letter(
    topic: str, kind: str, payload: bytes, reason: str, detail: str, now_ms: int
) -> DeadLetter:
    return make_dead_letter(
        "worker", None, Origin(topic), payload, reason, detail, at_ms=now_ms, kind=kind
    )
