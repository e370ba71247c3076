"""Alerts as people read them: a link, a subject, a few lines of plain text."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from urllib.parse import quote

from civicstream.events import Alert

__all__ = ["alert_link", "mail_subject", "mail_text", "one_line"]

_LONGEST_SUBJECT = 200


def one_line(text: str, limit: int = 1_000) -> str:
    """Return the text on one line, without control characters and cut to ``limit``."""
    printable = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    return " ".join(printable.split())[:limit]


def alert_link(public_url: str, alert: Alert) -> str:
    """Return the address of the alert on the operations page."""
    return f"{public_url}/?alert={quote(alert.id, safe='')}"


def mail_subject(alert: Alert) -> str:
    """Return e.g. ``[severe] Queue on Long Road`` or ``[cleared] …``."""
    tag = "cleared" if alert.state == "cleared" else alert.severity
    again = " (not acknowledged)" if alert.change == "escalated" else ""
    return one_line(f"[{tag}] {alert.headline}{again}", _LONGEST_SUBJECT)


def mail_text(alert: Alert, public_url: str) -> str:
    """Return the body of a mail, lines ending in a newline."""
    lines = [one_line(alert.headline)]
    if alert.description:
        lines += ["", *(one_line(line) for line in alert.description.splitlines())]
    lines += ["", *(f"{name + ':':<14} {value}" for name, value in _facts(alert))]
    return "\n".join([*lines, "", alert_link(public_url, alert), ""])


def _facts(alert: Alert) -> list[tuple[str, str]]:
    facts = [
        ("Change", alert.change),
        ("Severity", alert.severity),
        ("Area", one_line(alert.area)),
        ("Subject", one_line(alert.subject)),
        ("Rule", one_line(alert.rule)),
        ("Since", _time(alert.started_at)),
    ]
    if alert.value is not None:
        limit = f" (threshold {alert.threshold:g})" if alert.threshold is not None else ""
        facts.append(("Value", f"{alert.value:g}{limit}"))
    if alert.children:
        facts.append(("Stands for", f"{alert.children} alerts"))
    if alert.escalation:
        facts.append(("Escalation", f"{alert.escalation}; nobody acknowledged it in time"))
    if alert.acknowledged_by is not None:
        facts.append(("Acknowledged", f"by {one_line(alert.acknowledged_by)}"))
    if alert.note:
        facts.append(("Note", one_line(alert.note)))
    if alert.cleared_at is not None:
        facts.append(("Cleared", _time(alert.cleared_at)))
    return facts


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
