"""Lists of cases, crews, decisions and alerts, and of what was refused."""

from __future__ import annotations

from feeds.history.columns import Column, column, columns
from feeds.history.listings import AREA, Filter, Listing, Times

__all__ = [
    "ACTIONS",
    "ALERTS",
    "ALLOCATIONS",
    "AUDIT",
    "CASES",
    "DEAD_LETTERS",
    "DEMAND",
    "UNITS",
    "dead_letters",
]

_SERVICE = Filter("service", "Codes of service types.")
_UNIT = Filter("unit", "Crews and vehicles.")
_PRIORITY = Filter("priority", "Priorities, 1 urgent to 4 low.", type="int")

CASES = Listing(
    "cases",
    "Problems that citizens reported, the newest version of each case.",
    "cases_current h",
    columns(
        "id",
        "version",
        "state",
        "area",
        "service",
        "agency",
        "priority",
        "lon",
        "lat",
        "description",
        "reports",
        "reporters",
        "weight",
        "opened_at",
        "updated_at",
        "due_at",
        "changed_by",
        "note",
        "latest_report",
        "suggested_service",
        "confirmed_by",
        "breach",
        "duplicate_of",
    ),
    ("opened_at", "id"),
    newest_first=True,
    times=Times("h.opened_at", "h.updated_at", "h.state IN ('resolved', 'rejected', 'duplicate')"),
    filters=(
        AREA,
        Filter(
            "state",
            "States.",
            choices=(
                "received",
                "acknowledged",
                "assigned",
                "in_progress",
                "resolved",
                "rejected",
                "duplicate",
            ),
        ),
        _SERVICE,
        Filter("agency", "Who is responsible."),
        _PRIORITY,
        Filter("breach", "Of the target time.", choices=("none", "near", "breached")),
    ),
    place="point",
)

UNITS = Listing(
    "units",
    "Crews and vehicles where they were last.",
    "units_current h",
    columns(
        "id",
        "area",
        "state",
        "skills",
        "lon",
        "lat",
        "shift_end",
        "capacity",
        "load",
        "at",
        "task",
    ),
    ("id",),
    filters=(
        AREA,
        Filter(
            "state",
            "States.",
            choices=("off_duty", "available", "assigned", "en_route", "on_site"),
        ),
        Filter("task", "What they are assigned to."),
    ),
    place="point",
)

ALLOCATIONS = Listing(
    "allocations",
    "Who is sent where, the newest version of each advice.",
    "allocations_current h",
    columns(
        "id",
        "version",
        "state",
        "policy",
        column("task", description="incident/<id> or case/<id>."),
        "unit",
        "area",
        "priority",
        "proposed_at",
        "arrival_at",
        "route",
        "reason",
        "alternatives",
        "decided_by",
        "decided_at",
        "note",
    ),
    ("proposed_at", "id"),
    newest_first=True,
    times=Times("h.proposed_at", "h.decided_at", "h.state NOT IN ('proposed', 'accepted')"),
    filters=(
        AREA,
        Filter(
            "state",
            "States.",
            choices=(
                "proposed",
                "accepted",
                "rejected",
                "overridden",
                "withdrawn",
                "completed",
            ),
        ),
        _UNIT,
        Filter("task", "incident/<id>, case/<id>."),
        _PRIORITY,
    ),
)

ALERTS = Listing(
    "alerts",
    "Alerts, the newest version of each.",
    "alerts_current h",
    columns(
        "id",
        "version",
        "state",
        "change",
        "rule",
        "key",
        "severity",
        "area",
        "subject",
        "headline",
        "started_at",
        "updated_at",
        "computed_at",
        "description",
        Column("value", "float", "Latest value of what the rule looks at.", nullable=True),
        "threshold",
        "lon",
        "lat",
        "cleared_at",
        "acknowledged_at",
        "acknowledged_by",
        "silenced_until",
        "silenced_by",
        "escalation",
        "parent",
        "children",
        "note",
    ),
    ("started_at", "id"),
    newest_first=True,
    times=Times("h.started_at", "h.updated_at", "h.state = 'cleared'"),
    filters=(
        AREA,
        Filter("state", "States.", choices=("active", "cleared")),
        Filter("rule", "Alert rules."),
        Filter("subject", "What they are about, as <what>/<id>."),
        Filter("parent", "The group they belong to."),
        Filter(
            "min_severity",
            "Smallest severity.",
            "h.severity",
            choices=("minor", "moderate", "severe", "extreme"),
            rule="at_least",
        ),
    ),
    place="point",
)

DEMAND = Listing(
    "demand",
    "What each area needs of each service, as it was computed last.",
    "demand_current h",
    columns(
        Column("id", "text", "area/service.", sql="h.area || '/' || h.service"),
        "area",
        "service",
        "at",
        "open_tasks",
        "weighted",
        "arrivals_per_h",
        *(
            Column(name, "json", text, sql=f"h.{name}")
            for name, text in (
                ("expected", "Arrivals in each of the next hours."),
                ("expected_low", "Lower end of the 80 % interval."),
                ("expected_high", "Upper end of the 80 % interval."),
            )
        ),
        "capacity_per_h",
        "pressure",
    ),
    ("area", "service"),
    filters=(AREA, _SERVICE),
)

ACTIONS = Listing(
    "actions",
    "What people and crews decided.",
    "actions h",
    columns("id", "subject", "action", "area", "by", "at", "note", "value"),
    ("at", "id"),
    newest_first=True,
    times=Times("h.at"),
    filters=(
        AREA,
        Filter("subject", "What it is about, as <what>/<id>."),
        Filter("action", "Kinds of decision."),
        Filter("by", "Who decided."),
    ),
    tag="accounts",
)

AUDIT = Listing(
    "audit",
    "The audit: every decision, chained by hashes (`civicstream audit verify` checks it).",
    "audit_log h",
    columns(
        "seq",
        "at",
        "recorded_at",
        "actor",
        "action",
        "subject",
        Column("area", "text", "District; empty where it is of none."),
        column("detail", of="details"),
        column("previous", "encode(h.previous, 'hex')"),
        column("hash", "encode(h.hash, 'hex')"),
    ),
    ("seq",),
    newest_first=True,
    times=Times("h.at", default_span_s=86_400),
    filters=(
        AREA,
        Filter("actor", "Who."),
        Filter("action", "Kinds of deed."),
        Filter("subject", "What it is about, as <what>/<id>."),
    ),
    tag="accounts",
)

# A refused report holds what a citizen wrote, maybe of himself, and its topic the client's id.
_OF_CITIZENS = "(h.topic LIKE '%%report%%' OR h.topic = 'forgotten' OR h.kind = 'report')"


# The CloudEvents id begins with the topic.
_DEAD_LETTER_ID = "left(encode(sha256(convert_to(h.source || ' ' || h.id, 'UTF8')), 'hex'), 32)"


def dead_letters(payload_bytes: int) -> Listing:
    """Return the list of dead letters whose payloads are cut to ``payload_bytes``."""
    of_citizens = f"CASE WHEN {_OF_CITIZENS} THEN"
    payload = (
        f"{of_citizens} NULL ELSE "
        f"translate(encode(substr(h.payload, 1, {int(payload_bytes)}), 'base64'), E'\\n', '') END"
    )
    return Listing(
        "dead-letters",
        "What was refused, with the reason. Of refused reports neither text nor sender is shown.",
        "dead_letters h",
        columns(
            Column("id", "text", "Hash of its source and CloudEvents id.", sql=_DEAD_LETTER_ID),
            "received_at",
            "stage",
            Column("instance", "text", "Which of these processes.", nullable=True),
            column("reason", description="Stable code of the reason."),
            Column(
                "detail", "text", "What is wrong.", True, f"{of_citizens} NULL ELSE h.detail END"
            ),
            Column("kind", "text", "Kind of observation.", nullable=True),
            Column("count", "int", "Readings that were refused."),
            column("topic", f"{of_citizens} 'report' ELSE h.topic END"),
            "partition",
            Column("offset", "int", "Of the record.", True, 'h."offset"'),
            Column(
                "members",
                "json",
                "Bad members of an array: [index, sentence].",
                True,
                f"{of_citizens} NULL ELSE h.members END",
            ),
            Column("payload", "text", f"Its first {payload_bytes} bytes, base64.", True, payload),
            "payload_bytes",
        ),
        ("received_at", "id"),
        newest_first=True,
        times=Times("h.received_at"),
        filters=(
            Filter("stage", "Which processes refused it."),
            Filter("reason", "Codes of reasons."),
            Filter("kind", "Kinds of observation."),
        ),
        tag="accounts",
    )


DEAD_LETTERS = dead_letters(1024)
