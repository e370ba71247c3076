"""Alerts: rules over everything the city's streams say, and what becomes of each alert."""

from streams.alerts.engine import AlertEngine
from streams.alerts.places import Places
from streams.alerts.rule import Rule, RuleSet
from streams.alerts.rule_file import DEFAULT_RULES, load_rules, parse_rules

__all__ = [
    "DEFAULT_RULES",
    "AlertEngine",
    "Places",
    "Rule",
    "RuleSet",
    "load_rules",
    "parse_rules",
]
