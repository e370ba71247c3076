"""What a transaction of the sink has done, counted while it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from civicstream.events import Counts, DeadLetter
from civicstream.kafka.sequences import Gap

__all__ = ["Written"]


@dataclass
class Written:
    """What one transaction did."""

    kinds: dict[str, Counts] = field(default_factory=dict)
    result_rows: int = 0
    events: dict[str, int] = field(default_factory=dict)
    """New rows by table: incidents, forecasts, reports, cases … and sealed personal records."""
    days: dict[tuple[str, date], int] = field(default_factory=dict)
    """New rows by table and the day (UTC) they are of."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)

    def add_days(self, table: str, days: Mapping[date, int]) -> None:
        for day, rows in days.items():
            self.days[table, day] = self.days.get((table, day), 0) + rows
