"""What the allocation weighs against what; checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from civicstream.errors import ConfigurationError

__all__ = ["DispatchSettings"]

_WEIGHTS = ((1, 8.0), (2, 4.0), (3, 2.0), (4, 1.0))
_TARGETS = ((1, 20.0), (2, 60.0), (3, 240.0), (4, 480.0))


@dataclass(frozen=True)
class DispatchSettings:
    """Weights and times of the allocation; minutes unless the name says otherwise."""

    policy: str = "optimal"
    plan_every_s: float = 10.0
    """When something has happened."""
    plan_at_least_every_s: float = 60.0
    """Also when nothing has."""
    priority_weight: Mapping[int, float] = field(default_factory=lambda: dict(_WEIGHTS), hash=False)
    """What a minute of waiting counts, by priority."""
    target_min: Mapping[int, float] = field(default_factory=lambda: dict(_TARGETS), hash=False)
    """A unit is to be there so many minutes after the task was opened, by priority."""
    lateness_weight: float = 0.5
    """What a minute past the target counts on top, in minutes before it."""
    margin_min: float = 4.0
    """An accepted advice is given up only for a plan that saves so many of its minutes."""
    proposed_margin_min: float = 1.0
    """The same for an advice nobody has answered yet."""
    look_ahead_min: float = 30.0
    """Units on site that are free by then are waited for where that is better."""
    free_safety_min: float = 3.0
    """Added to when they are expected to be free."""
    time_price: float = 1.0
    """How far a unit's minutes count by what waits for it in turn; 0 looks at one round only."""
    defer_min: float = 30.0
    """A task without a unit in this round is counted as served this long after the last one."""
    answer_within_s: float = 240.0
    """A proposal without an answer is withdrawn then."""
    silent_bar_min: float = 10.0
    """How long a unit that did not answer is not asked again for this task."""
    reject_bar_min: float = 120.0
    """How long a unit that rejected a task is not sent there."""

    def __post_init__(self) -> None:
        for name in ("priority_weight", "target_min"):
            values: Mapping[int, float] = getattr(self, name)
            if set(values) != {1, 2, 3, 4} or min(values.values()) <= 0:
                raise ConfigurationError(
                    f"allocation.{name} is {dict(values)}: give a number above 0 for each of the "
                    "priorities 1, 2, 3 and 4"
                )
