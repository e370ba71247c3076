"""What a forecaster is built with: the length of a step, how far ahead, how long it remembers."""

from __future__ import annotations

from dataclasses import dataclass, field

from civicstream.errors import ConfigurationError

__all__ = ["DAY_S", "ForecastSettings"]

DAY_S = 86_400


@dataclass(frozen=True)
class ForecastSettings:
    """All spans are counted in steps of ``step_s``; the defaults are made for five minutes."""

    step_s: int = 300
    leads: tuple[int, ...] = (3, 6, 9, 12)
    """Steps ahead to forecast, ascending."""
    days: int = 14
    """Past days to look for similar ones: two of every weekday."""
    neighbours: int = 8
    """Other series that each one listens to."""
    memory_days: float = 28.0
    """Time constant of forgetting what was learned."""
    stale_steps: int = 6
    """A series that brought nothing for this time gets no forecast (half an hour)."""
    steps_per_day: int = field(init=False)
    slot_steps: int = field(init=False)
    """Steps to a slot of the day history: 15 minutes hold all that days have in common."""

    def __post_init__(self) -> None:
        if self.step_s <= 0 or DAY_S % self.step_s:
            raise ConfigurationError(
                f"forecast step of {self.step_s} s: a day must be a whole number of steps; "
                "take for example 60, 300 or 900 s"
            )
        per_day = DAY_S // self.step_s
        leads = self.leads
        if not leads or min(leads) < 1 or list(leads) != sorted(set(leads)):
            raise ConfigurationError(
                f"forecast leads {leads}: expected ascending whole numbers of steps from 1"
            )
        slot = 3 if per_day % 3 == 0 else 1
        if leads[-1] > per_day - 2 * slot:
            raise ConfigurationError(
                f"forecast lead {leads[-1]}: a day has {per_day} steps of {self.step_s} s, and "
                f"a forecast may reach {per_day - 2 * slot} steps at most"
            )
        object.__setattr__(self, "steps_per_day", per_day)
        object.__setattr__(self, "slot_steps", slot)

    @property
    def reach(self) -> int:
        """Return the longest lead [steps]."""
        return self.leads[-1]

    @property
    def usual_leads(self) -> tuple[float, ...]:
        """Return where the usual course of the day is asked: now and at quarters of the reach."""
        return tuple(self.reach * quarter / 4 for quarter in range(5))
