"""What follows from the clock for alerts that nobody has dealt with, and for silences."""

from __future__ import annotations

from collections.abc import Mapping

from alerts.engine.alert_store import AlertStore, Known
from alerts.engine.rule_state import RuleState
from alerts.rules.rule import SEVERITIES
from civicstream.events import Alert

__all__ = ["due_by_clock"]


def due_by_clock(store: AlertStore, states: Mapping[str, RuleState], now_ms: int) -> list[Alert]:
    """Return the ends of silences, and the escalations of what nobody acknowledged in time."""
    made = []
    for known in store.active():
        alert = known.alert
        if alert.silenced_until is not None:
            if now_ms >= alert.silenced_until:
                made.append(
                    store.change(
                        known,
                        now_ms,
                        alert.silenced_until,
                        "unsilenced",
                        silenced_until=None,
                        silenced_by=None,
                    )
                )
            continue
        due = _due(known, states)
        if due is not None and now_ms >= due:
            worse = SEVERITIES[SEVERITIES.index(alert.severity) + 1]
            made.append(
                store.change(
                    known,
                    now_ms,
                    due,
                    "escalated",
                    severity=worse,
                    escalation=alert.escalation + 1,
                )
            )
    return made


def _due(known: Known, states: Mapping[str, RuleState]) -> int | None:
    """Return when the alert escalates next [ms]; None when it does not."""
    alert, state = known.alert, states.get(known.alert.rule)
    if state is None or not state.rule.escalate_after_ms:
        return None
    if alert.acknowledged_at is not None or alert.parent is not None:
        return None
    if alert.severity == SEVERITIES[-1]:
        return None
    return known.raised_at + (alert.escalation + 1) * state.rule.escalate_after_ms
