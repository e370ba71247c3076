"""A rule as it is once its file was read and checked; nothing here can be wrong any more."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from civicstream.events import AlertSeverity

__all__ = [
    "SEVERITIES",
    "WEEKDAYS",
    "Condition",
    "Grouping",
    "Join",
    "Rule",
    "RuleSet",
    "Schedule",
    "Value",
]

SEVERITIES: tuple[AlertSeverity, ...] = ("minor", "moderate", "severe", "extreme")

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Join = Literal["area", "segment", "city"]

Value = str | float | bool


@dataclass(frozen=True)
class Condition:
    """What one condition looks at and when it holds."""

    name: str
    source: str
    """Topic without the prefix."""
    field: str | None = None
    per: str | None = None
    """Divide by this field."""
    change_over_ms: int | None = None
    """Look at the change over this time; 0: since the value before."""
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    """Holds on until the value is back beyond this; None: the threshold itself."""
    values: tuple[Value, ...] | None = None
    negated: bool = False
    """Holds while the field is none of ``values``."""
    where: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    for_ms: int = 0
    no_data_for_ms: int | None = None
    by_area: bool = False
    """Absence of an area's data, not of each subject's."""
    at_least: int = 1
    """So many subjects of a joined place must hold."""
    forget_after_ms: int = 0
    """Without data for this time it no longer holds; 0: never forgotten."""

    @property
    def threshold(self) -> float | None:
        return self.above if self.above is not None else self.below

    @property
    def memory_ms(self) -> int:
        """How far back events matter to it."""
        return self.for_ms + (self.change_over_ms or 0) + (self.no_data_for_ms or 0)


@dataclass(frozen=True)
class Schedule:
    """When a rule may raise alerts; what is active stays so outside of it."""

    days: frozenset[int] = frozenset(range(7))
    """Monday is 0."""
    from_min: int = 0
    until_min: int = 24 * 60
    """Minutes of the local day; from above until: over midnight, by the day it began."""
    zone: ZoneInfo | None = None
    """None: UTC."""

    def covers(self, at_ms: int) -> bool:
        """Whether ``at_ms`` is within."""
        local = datetime.fromtimestamp(at_ms / 1000, self.zone or UTC)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.from_min <= self.until_min:
            return day in self.days and self.from_min <= minute < self.until_min
        if minute >= self.from_min:
            return day in self.days
        return minute < self.until_min and (day - 1) % 7 in self.days


@dataclass(frozen=True)
class Grouping:
    """One parent alert when more than ``more_than`` become active within ``over_ms``."""

    more_than: int
    over_ms: int
    by: Literal["area", "city"] = "area"


@dataclass(frozen=True)
class Rule:
    """What raises an alert, and how it reads."""

    name: str
    line: int
    """Of the file, for messages."""
    severity: AlertSeverity
    message: str
    conditions: tuple[Condition, ...]
    description: str = ""
    join: Join | None = None
    """None: one condition, an alert for each of its subjects."""
    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    for_ms: int = 0
    """Of the combination."""
    areas: frozenset[str] | None = None
    schedule: Schedule | None = None
    key: str | None = None
    """Template of the deduplication key; None: the subject."""
    worse: tuple[tuple[float, AlertSeverity], ...] = ()
    """Higher severities and the values they begin at, from mild to bad."""
    update_share: float = 0.2
    """An update is published when the value moved by this share."""
    escalate_after_ms: int = 0
    grouping: Grouping | None = None

    @property
    def sources(self) -> frozenset[str]:
        return frozenset(condition.source for condition in self.conditions)

    @property
    def threshold(self) -> float | None:
        """The figure to show beside the alert's value."""
        if len(self.conditions) > 1:
            return None
        only = self.conditions[0]
        return float(only.at_least) if self.join else only.threshold


@dataclass(frozen=True)
class RuleSet:
    """The rules of one file."""

    rules: tuple[Rule, ...]
    grouping: Grouping | None = None
    """Of the alerts of all rules of an area together."""
    origin: str = ""
    sources: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        every = frozenset[str]().union(*(rule.sources for rule in self.rules))
        object.__setattr__(self, "sources", every)

    def __len__(self) -> int:
        return len(self.rules)

    @property
    def memory_ms(self) -> int:
        """How far back an event can still matter."""
        spans = [c.memory_ms + rule.for_ms for rule in self.rules for c in rule.conditions]
        return max(spans, default=0)
