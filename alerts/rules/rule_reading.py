"""One ``[[rule]]`` of a rules file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, cast

from alerts.rules import templates
from alerts.rules.condition_reading import CONDITION_FIELDS
from alerts.rules.rule import SEVERITIES, Condition, Grouping, Join, Rule
from alerts.rules.rule_values import (
    WrongValue,
    closest,
    duration_ms,
    number,
    schedule,
    text,
    texts,
    whole,
)
from alerts.rules.sources import SOURCES
from civicstream.events import AlertSeverity

__all__ = ["MESSAGE_FIELDS", "read_grouping", "read_rule"]

ReadCondition = Callable[[str, dict[str, Any], str], Condition]

_RULE_FIELDS = (
    "name",
    "severity",
    "message",
    "description",
    "areas",
    "schedule",
    "key",
    "worse",
    "update_share",
    "escalate_after",
    "group",
    "within",
    "join",
    "all",
    "any",
    "not",
    "for",
)
_COMBINED = ("all", "any", "not")
_NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,59}$")

MESSAGE_FIELDS = {
    "area": "text",
    "subject": "text",
    "name": "text",
    "severity": "text",
    "started": "text",
    "rule": "text",
    "value": "number",
    "threshold": "number",
}
"""What every message may name, whatever its source."""


def read_rule(table: Any, line: int, read_condition: ReadCondition) -> Rule:
    """Return the rule in ``table``; raise WrongValue for the first thing that is wrong."""
    if not isinstance(table, dict):
        raise WrongValue("rule", "write [[rule]] and its fields below")
    name = text("name", table.get("name"))
    if not _NAME.match(name):
        raise WrongValue("name", f"{name!r}: use small letters, digits and -, e.g. 'water-high'")
    known = {*_RULE_FIELDS, *CONDITION_FIELDS, "condition"}
    for unknown in table.keys() - known:
        raise WrongValue(unknown, f"no such field; {closest(unknown, known)}")
    if "condition" in table or any(part in table for part in _COMBINED):
        conditions, shape = _combined(table, read_condition)
    else:
        conditions, shape = _single(table, read_condition)
    rule = Rule(
        name=name,
        line=line,
        severity=_severity("severity", table.get("severity")),
        message=text("message", table.get("message")),
        description=text("description", table["description"]) if "description" in table else "",
        conditions=conditions,
        areas=frozenset(texts("areas", table["areas"])) if "areas" in table else None,
        schedule=schedule("schedule", table["schedule"]) if "schedule" in table else None,
        key=text("key", table["key"]) if "key" in table else None,
        update_share=number("update_share", table.get("update_share", 0.2)),
        escalate_after_ms=_optional_ms("escalate_after", table),
        grouping=read_grouping("group", table["group"]) if "group" in table else None,
        **shape,
    )
    _check_templates(rule)
    return dataclasses.replace(rule, worse=_worse(rule, table.get("worse", {})))


def _optional_ms(field: str, table: dict[str, Any]) -> int:
    return duration_ms(field, table[field]) if field in table else 0


def _single(
    table: dict[str, Any], read_condition: ReadCondition
) -> tuple[tuple[Condition, ...], dict[str, Any]]:
    chosen = {field: table[field] for field in CONDITION_FIELDS if field in table}
    condition = read_condition("it", chosen, "")
    if "join" in table:
        raise WrongValue("join", "it goes with all, any and not; to count, write within")
    if "within" not in table:
        if condition.at_least > 1:
            raise WrongValue("at_least", 'say within what, e.g. within = "area"')
        return (condition,), {}
    join = _join("within", table["within"], (condition,))
    return (condition,), {"join": join, "all": ("it",)}


def _combined(
    table: dict[str, Any], read_condition: ReadCondition
) -> tuple[tuple[Condition, ...], dict[str, Any]]:
    for field in (*CONDITION_FIELDS, "within"):
        if field in table and field != "for":
            raise WrongValue(field, "a rule with all, any or not has it in [rule.condition.NAME]")
    tables = table.get("condition")
    if not isinstance(tables, dict) or not tables:
        raise WrongValue("condition", "is missing; name each in a table [rule.condition.NAME]")
    read = {n: read_condition(n, t, f"condition.{n}.") for n, t in tables.items()}
    used: dict[str, tuple[str, ...]] = {p: _names(p, table, read) for p in _COMBINED}
    if not used["all"] and not used["any"]:
        raise WrongValue("not" if used["not"] else "condition", "say all or any of what must hold")
    for name in read.keys() - {n for names in used.values() for n in names}:
        raise WrongValue(f"condition.{name}", "is in none of all, any and not; leave it out")
    join = _join("join", table.get("join", "area"), tuple(read.values()))
    shape = {"join": join, "all": used["all"], "any": used["any"], "none": used["not"]}
    return tuple(read.values()), shape | {"for_ms": _optional_ms("for", table)}


def _names(part: str, table: dict[str, Any], read: dict[str, Condition]) -> tuple[str, ...]:
    names = texts(part, table[part]) if part in table else ()
    for name in names:
        if name not in read:
            raise WrongValue(part, f"no condition {name!r}; {closest(name, read)}")
    return names


def _join(field: str, value: Any, conditions: tuple[Condition, ...]) -> Join:
    if value not in {"area", "segment", "city"}:
        raise WrongValue(field, f'{value!r}: write "area", "segment" or "city"')
    for condition in conditions:
        if value == "segment" and (not SOURCES[condition.source].on_segments or condition.by_area):
            raise WrongValue(field, f'{condition.source} has no segments; write "area"')
    return cast(Join, value)


def _severity(field: str, value: Any) -> AlertSeverity:
    if value not in SEVERITIES:
        raise WrongValue(field, f"{value!r} is none of {', '.join(SEVERITIES)}")
    return cast(AlertSeverity, value)


def _worse(rule: Rule, table: Any) -> tuple[tuple[float, AlertSeverity], ...]:
    """Return the steps of ``worse = { severe = 50, extreme = 80 }``, from mild to bad."""
    if not isinstance(table, dict):
        raise WrongValue("worse", "write { severe = 50.0 }: the value where that severity begins")
    if table and rule.threshold is None:
        raise WrongValue("worse", "it goes with above, below or at_least")
    falls = rule.join is None and rule.conditions[0].below is not None
    steps, before, limit = [], rule.severity, rule.threshold or 0.0
    for name in sorted(table, key=lambda n: SEVERITIES.index(_severity(f"worse.{n}", n))):
        value, severity = number(f"worse.{name}", table[name]), _severity("worse", name)
        if SEVERITIES.index(severity) <= SEVERITIES.index(before):
            raise WrongValue(f"worse.{name}", f"is not worse than {before}")
        if value > limit if falls else value < limit:
            raise WrongValue(f"worse.{name}", f"{value:g} is milder than {limit:g}")
        steps.append((value, severity))
        before, limit = severity, value
    return tuple(steps)


def _check_templates(rule: Rule) -> None:
    known: dict[str, str] = dict(MESSAGE_FIELDS)
    if rule.join is None:
        condition = rule.conditions[0]
        if condition.no_data_for_ms is None or not condition.by_area:
            fields = SOURCES[condition.source].fields
            own = {f"source_{name}": fields[name] for name in MESSAGE_FIELDS if name in fields}
            known = {**fields, **own, **MESSAGE_FIELDS}
    for field, template in (
        ("message", rule.message),
        ("description", rule.description),
        ("key", rule.key or ""),
    ):
        try:
            for name in templates.field_names(template):
                if name not in known:
                    raise WrongValue(field, f"{{{name}}} is not known; {closest(name, known)}")
            templates.trial(template, known)
        except ValueError as error:
            raise WrongValue(field, f"{template!r}: {error}") from None


def read_grouping(field: str, table: Any) -> Grouping:
    """Return a grouping from ``{ more_than, over, by }``."""
    if not isinstance(table, dict):
        raise WrongValue(field, 'write { more_than = 10, over = "5m" }')
    for name in table.keys() - {"more_than", "over", "by"}:
        raise WrongValue(
            f"{field}.{name}", f"no such field; {closest(name, ('more_than', 'over', 'by'))}"
        )
    by = table.get("by", "area")
    if by not in {"area", "city"}:
        raise WrongValue(f"{field}.by", f'{by!r}: write "area" or "city"')
    more_than = whole(f"{field}.more_than", table.get("more_than"), 1)
    return Grouping(more_than, duration_ms(f"{field}.over", table.get("over")), by)
