"""How old results may be while all is well, and rules that wait as long before they miss any."""

from __future__ import annotations

from dataclasses import replace

from alerts.rules.rule import Condition, RuleSet
from alerts.rules.sources import SOURCES
from civicstream.clock import Clock
from civicstream.settings import WindowSettings

__all__ = ["patient", "result_age_ms"]

# What the processes may take from a reading to its alert, on the machine's clock.
_ON_THE_WAY_MS = 10_000


def result_age_ms(windows: WindowSettings, clock: Clock) -> int:
    """Return how far behind the city's clock the newest final result may be [ms].

    A window is closed by readings of the next one, and replaced when that is closed; seconds on
    the way are minutes and hours in a city whose time runs faster.
    """
    city_s = 2 * windows.size_s + windows.lateness_s + windows.out_of_orderness_s
    return round(1000 * city_s + _ON_THE_WAY_MS * clock.speed)


def patient(rules: RuleSet, age_ms: int) -> RuleSet:
    """Return rules that neither miss nor forget results younger than ``age_ms``.

    With windows of a minute in real time that is less than any packaged rule waits.
    """
    return replace(
        rules,
        rules=tuple(
            replace(rule, conditions=tuple(_patient(c, age_ms) for c in rule.conditions))
            for rule in rules.rules
        ),
    )


def _patient(condition: Condition, age_ms: int) -> Condition:
    source = SOURCES[condition.source]
    if not source.windowed or source.machine_time:
        return condition
    forget_ms, absent_ms = condition.forget_after_ms, condition.no_data_for_ms
    if absent_ms is None:
        return replace(condition, forget_after_ms=forget_ms and max(forget_ms, age_ms))
    longer = max(absent_ms, age_ms)
    forget_ms = forget_ms and forget_ms + longer - absent_ms
    return replace(condition, no_data_for_ms=longer, forget_after_ms=forget_ms)
