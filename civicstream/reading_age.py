"""How old a message may be: as old as what it says is kept, by one rule for gateway and sink.

What is older would be removed as soon as it is stored, and until then costs a chunk of its own
for each day that it spans.
"""

from __future__ import annotations

from dataclasses import dataclass

from civicstream.clock import rfc3339
from civicstream.errors import RejectedReading
from civicstream.settings import DatabaseSettings

__all__ = ["MaxAge", "max_age_of"]

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class MaxAge:
    """A retention and the setting that it comes from."""

    days: int
    setting: str

    def oldest_ms(self, now_ms: int) -> int:
        """Return the oldest event time [epoch ms] that is kept at ``now_ms``."""
        return max(0, now_ms - self.days * _DAY_MS)

    def too_old(self, who: str, ts_ms: int, now_ms: int) -> RejectedReading:
        """Return the rejection of a time before ``oldest_ms``; ``who`` begins its sentence."""
        return RejectedReading(
            "too_old",
            f"{who} {_shown(ts_ms)} is before {rfc3339(self.oldest_ms(now_ms))}: older than the "
            f"{self.days} days that such data are kept; correct the clock of the sender, or raise "
            f"{self.setting}",
        )


def max_age_of(kind: str, database: DatabaseSettings) -> MaxAge:
    """Return the rule for ``report``, ``unit``, or any kind of reading."""
    match kind:
        case "report":
            days, name = database.reports_retention_days, "REPORTS"
        case "unit":
            days, name = database.units_retention_days, "UNITS"
        case _:
            days, name = database.readings_retention_days, "READINGS"
    return MaxAge(days, f"CIVICSTREAM_DATABASE__{name}_RETENTION_DAYS")


def _shown(ts_ms: int) -> str:
    return rfc3339(ts_ms) if ts_ms >= 0 else f"{ts_ms} ms since 1970"
