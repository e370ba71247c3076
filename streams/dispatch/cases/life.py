"""The life of a case: which decision leads from which state to which."""

from __future__ import annotations

from dataclasses import dataclass

from civicstream.service_events import CaseState
from streams.dispatch.cases.records import OPEN

__all__ = ["MOVES", "Move"]


@dataclass(frozen=True)
class Move:
    """A decision; ``to`` None leaves the state as it is."""

    sources: frozenset[CaseState]
    to: CaseState | None
    needs_note: str = ""
    """What the note must say, where one is needed."""
    needs_value: str = ""
    """What the value must be, where one is needed."""

    @property
    def from_text(self) -> str:
        return ", ".join(sorted(self.sources))


_UNFINISHED = frozenset[CaseState]({"received", "acknowledged", "assigned"})
_SEEN = frozenset[CaseState]({"acknowledged", "assigned", "in_progress"})
_CLOSED = frozenset[CaseState]({"resolved", "rejected", "duplicate"})

MOVES: dict[str, Move] = {
    "acknowledge": Move(frozenset({"received"}), "acknowledged"),
    "assign": Move(_UNFINISHED, "assigned", needs_value="the unit"),
    "unassign": Move(frozenset({"assigned", "in_progress"}), "acknowledged"),
    "start": Move(frozenset({"acknowledged", "assigned"}), "in_progress"),
    # Somebody must have seen a problem before it can be said to be solved.
    "resolve": Move(_SEEN, "resolved"),
    "reject": Move(_UNFINISHED, "rejected", needs_note="the reason, which the citizens will read"),
    "duplicate": Move(_UNFINISHED, "duplicate", needs_value="the id of the other case"),
    "reopen": Move(_CLOSED, "acknowledged", needs_note="what is still wrong"),
    "reclassify": Move(OPEN, None, needs_value="the code of the right service"),
    "note": Move(OPEN | _CLOSED, None, needs_note="something to remember"),
}
# What units call it.
MOVES["done"] = MOVES["resolve"]
